#pragma once

#include <string>

#include "eval/record/reader.h"
#include "eval/run/group_context.h"
#include "eval/run/passes.h"

namespace quantref {

// Whatever the scores of a pass depend on, the program itself included: of configs all but what is
// known not to matter. The thread count is not among it, nor how many windows were asked for: a
// journal's are good for more and for fewer.
std::string Fingerprint(const GroupContext& group, const Pass& cells);

// The same in words, for messages: what processes that share the windows must agree on. Of inputs
// what is known before anything is quantized.
Facts InputFacts(const GroupContext& group);
Facts ScoreFacts(const GroupContext& group, const Pass& cells);

// "ISA: expected avx2, found avx512", of the first that differs; "" where none does.
std::string FirstDifference(const Facts& expected, const Facts& found);

}  // namespace quantref
