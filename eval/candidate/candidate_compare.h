#pragma once

#include <cstddef>

#include "eval/candidate/candidate.h"

namespace quantref {

// Compares a candidate's weights with those of the model that it claims to be made of: its
// changed_norms and weight_errors, and notes of matrices that are no roundings of the reference's,
// are of its but for folded factors or a rotation, or were probably read by settings that are not
// theirs.
void CompareWithReference(const Model& reference, size_t threads, Candidate& candidate);

}  // namespace quantref
