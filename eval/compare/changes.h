#pragma once

#include <optional>
#include <string>
#include <vector>

#include "eval/record/change.h"
#include "eval/record/reader.h"

namespace quantref {

// What differs between two records of a cell, apart from what was measured.

// Where results first went apart: a stage between text and logits, and the hash that shows it.
struct Cause {
  std::string stage;
  Change change;
  std::string
      matrix{};  // of packed weights: the first whose codes are others, where records say it
  std::string Text() const { return matrix.empty() ? stage : stage + ": " + matrix; }
};

// The facts that must be equal for a comparison to mean anything: model, tokenizer, tokens.
std::vector<Change> IdentityChanges(const StoredRecord& baseline, const StoredRecord& candidate);

// What else the reference is made of, where both records say it: config.json.
std::vector<Change> InputChanges(const StoredRecord& baseline, const StoredRecord& candidate);

// The first stage of text, tokens, calibration, weights, packed weights, path, logits that
// differs.
std::optional<Cause> FirstChangedStage(const StoredRecord& baseline, const StoredRecord& candidate);

// Other packed weights of the same model, where no other build or machine explains them: rounding
// to nearest gives the same bits everywhere, what is calibrated where compiler, ISA and BLAS are
// the same. Of a candidate without packed weights: other files.
bool HasOtherWeights(const StoredRecord& baseline, const StoredRecord& candidate);

// Config keys, the program and the environment.
std::vector<Change> OtherChanges(const StoredRecord& baseline, const StoredRecord& candidate);

}  // namespace quantref
