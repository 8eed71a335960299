#pragma once

#include <cstddef>

#include "harness/kernels/qgemm_kernels.h"

// Included by files compiled for other instruction sets: plain types and declarations only, as
// vector_ops.h explains. qgemm.h is the door for everybody else.

namespace quantref {

inline constexpr size_t kLevels = 16;      // of a codebook: codes have 4 bits
inline constexpr size_t kPartTerms = 128;  // inputs whose products are added as integers

// y (tokens, rows) = x W^T, weights.form CodeForm::kCodebook, x (tokens, cols) by position. An
// activation is multiplied by all levels first, and each weight looks its product up, so that any
// sixteen numbers cost the same. The inputs of a group are taken in parts of kPartTerms as they are
// stored (the last shorter). Of a token and a part
//   unit = absmax * (largest level / kMostProduct), 0 where that is below 2^-126, NaN where an
//   activation is not finite;  q = x * (1 / unit), 0 where unit is no positive number
//   P(k, c) = q_k * level[c] rounded once, to a whole number, ties to even; |P| < 2^22
//   y = sum over the parts, from 0 and in their order, each by one fused operation, of
//       (scale[group] * unit) * I,  I = sum of P(k, code of k), exact, as an FP32 number
// in FP32: every instruction set gives the same bits, whatever the number of tokens or threads. A
// product is wrong by 2^-23 of the largest that the part can have.
struct CodebookProduct {
  QgemmWeights weights;
  const float* levels;  // kLevels, by code; finite
  const float* x;
  size_t x_stride, tokens;
  float* y;
  size_t y_stride;
};
inline constexpr float kMostProduct = 4194000;  // 2^22, and roundings to spare

struct CodebookKernels {
  const char* name;
  // The outputs of panels [first, end), for all tokens. scratch: of scratch_bytes, 64-byte aligned.
  void (*multiply)(const CodebookProduct& product, size_t first, size_t end, uint8_t* scratch);
  size_t scratch_bytes;
};

extern const CodebookKernels kScalarCodebook;
extern const CodebookKernels kAvx2Codebook;
extern const CodebookKernels kAvx512Codebook;
extern const CodebookKernels kAvx512VbmiCodebook;  // for CPUs with VBMI, too

}  // namespace quantref
