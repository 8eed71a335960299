#pragma once

#include <string_view>

namespace quantref {

// The names of the cell that all others of a run are compared with: what its weights are stored
// as, "fp16", "bf16" or "fp32"; where its matrices differ several of these, joined with "+".

inline constexpr char kFp16Name[] = "fp16";

// Configs refuse these as labels of other cells. Records that call their reference "fp16" may be
// of any type.
bool IsReferenceName(std::string_view name);

// Whether a user who writes this means the reference, whatever its type: any of these names, or
// "reference".
inline constexpr char kAnyReference[] = "reference";
bool MeansReference(std::string_view name);

}  // namespace quantref
