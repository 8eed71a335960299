#pragma once

#include "harness/kernels/qgemm_kernels.h"

// Where rows of activations lie. Included by files compiled for other instruction sets; its
// functions are static, so that no other file can be given a copy of them.

namespace quantref {

static inline size_t Smaller(size_t a, size_t b) { return a < b ? a : b; }

// Rows of a block of activations: 16, or with three digits the 15 of five tokens.
static inline size_t BlockRows(size_t digits) { return 16 / digits * digits; }

// Where a block's rows begin, and how many they are.
struct RowBlock {
  size_t first, height;
};
static inline RowBlock BlockOf(const QgemmInputs& inputs, size_t row) {
  const size_t most = BlockRows(inputs.digits), first = row / most * most;
  return {first, Smaller(most, inputs.tokens * inputs.digits - first)};
}

}  // namespace quantref
