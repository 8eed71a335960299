#pragma once

#include <cstddef>
#include <cstdint>

// Included by files compiled for other instruction sets: plain types and declarations only, as
// vector_ops.h explains.

namespace quantref {

// y (tokens, out) = x (tokens, in) W^T, W (out, in) with its rows side by side.
struct ThinProduct {
  const void* weights;
  size_t out, in;
  const float* x;
  size_t x_stride, tokens;
  float* y;
  size_t y_stride;
};

// One table an instruction set, one function for each type that weights are stored in. Sixteen sums
// an output: sum i mod 16 takes element i by a fused multiply-add, in increasing order (what is
// missing of the last sixteen counts as zeros), and they are folded pairwise, ((0+8)+(4+12)) + ...
// So an output's bits depend on its row of W and of x alone, and all tables give the same (which
// NaN a NaN is may differ). No function allocates. Arrays need the alignment of their elements.
struct ThinKernels {
  const char* name;
  void (*half)(const ThinProduct& product);
  void (*bfloat)(const ThinProduct& product);
  void (*single)(const ThinProduct& product);
};

extern const ThinKernels kScalarThin;
extern const ThinKernels kAvx2Thin;
extern const ThinKernels kAvx512Thin;

}  // namespace quantref
