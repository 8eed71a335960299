#pragma once

#include <span>
#include <vector>

#include "harness/model/attention.h"

// Attention by its definition. Only tests include this.

namespace quantref::testing {

// Softmax attention of one query, in double: keys and values as rows of head_dim numbers, those
// that the query sees.
std::vector<double> AttendInDouble(const AttentionShape& shape, const float* query,
                                   std::span<const float* const> keys,
                                   std::span<const float* const> values);

}  // namespace quantref::testing
