#pragma once

#include <string>
#include <string_view>

#include "harness/model/weights.h"

namespace quantref {

// The cell that all others of a run are compared with is called by what its weights are stored as:
// "fp16", "bf16" or "fp32"; where its matrices differ by all of these, joined with "+", the type of
// the most weights first.
inline constexpr char kFp16Name[] = "fp16";
std::string ReferenceName(const ModelWeights& weights);
inline bool IsFp16(const ModelWeights& weights) { return ReferenceName(weights) == kFp16Name; }

// Whether this is such a name; configs refuse these as labels of other cells. Records that call
// their reference "fp16" may be of any type.
bool IsReferenceName(std::string_view name);

// Whether a user who writes this means the reference, whatever its type: any of these names, or
// "reference".
inline constexpr char kAnyReference[] = "reference";
bool MeansReference(std::string_view name);

}  // namespace quantref
