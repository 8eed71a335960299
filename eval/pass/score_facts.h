#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include "eval/inputs/group_context.h"
#include "eval/inputs/passes.h"
#include "eval/record/reader.h"

namespace quantref {

// What a run is, by the names that messages have for it. Whatever one of these lists holds
// distinguishes files of a run too: their keys are hashes of the lists.

// What quantized weights depend on beside configs and texts: this program, the model's files, ISA,
// BLAS.
Facts OriginFacts(const GroupContext& group);

// What a candidate's cell is made from, with its label and what it is called after.
Facts CandidateFacts(const GroupCell& cell, size_t threads);

// A config but for what is known not to matter, as the thread count.
std::pair<std::string, std::string> ConfigFact(const RunConfig& config);

// A cell's weights, with the path of their products, and of a candidate what it is made from.
Facts CellFacts(const GroupContext& group, const GroupCell& cell);

// Whatever the scores of a pass depend on, too: texts, the configs, and the cells. Processes that
// share the windows must agree on them.
Facts ScoreFacts(const GroupContext& group, const Pass& cells);

// A line each.
std::string TextOf(const Facts& facts);

// A hash of ScoreFacts, but for how many windows were asked for: a journal's are good for more and
// for fewer.
std::string Fingerprint(const GroupContext& group, const Pass& cells);

// "ISA: expected avx2, found avx512", of the first that differs; "" where none does.
std::string FirstDifference(const Facts& expected, const Facts& found);

}  // namespace quantref
