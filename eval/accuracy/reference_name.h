#pragma once

#include <string>

#include "eval/record/reference.h"
#include "harness/model/weights.h"

namespace quantref {

// What a model is called as the reference of a run: the types that its matrices are stored as, that
// of the most weights first (record/reference.h).
std::string ReferenceName(const ModelWeights& weights);
// Whether it is what speeds are ratios to: FP16 numbers, that products read as they are.
inline bool IsFp16(const ModelWeights& weights) {
  return ReferenceName(weights) == kFp16Name && DecodedEachCall(weights).empty();
}

}  // namespace quantref
