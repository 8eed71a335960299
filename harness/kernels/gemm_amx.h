#pragma once

#include <cstddef>
#include <cstdint>

// Included by a file compiled for another instruction set: plain types and declarations only, as
// vector_ops.h explains.

namespace quantref {

// A matrix operand of k terms for each row of the product: element (i, p) is
// data[i * row_stride + p * term_stride]; one of the strides is 1.
struct GemmOperand {
  const float* data;
  size_t row_stride, term_stride;
};

// c (m, n) = sign * a b^T, plus c where `accumulate`, in FP32 accuracy on the AMX units, which
// multiply BF16: every FP32 number is the sum of three BF16 numbers, x = x1 + x2 + x3, each the
// nearest to what is left, so that a product is x1 y1 + (x1 y2 + x2 y1) + (x1 y3 + x2 y2 + x3 y1)
// to 2^-24 of its magnitude. FP16 weights need two terms and small integers one; terms that are 0
// all over are left out. BF16 numbers below 2^-126 count as 0, so FP32 numbers below 2^-102 lose
// their last bits; magnitudes above 3.39e38 overflow. The bits of the result depend on the shape
// alone.
struct AmxGemm {
  size_t m, n, k;
  GemmOperand a, b;  // b: n rows
  float sign;        // 1 or -1
  bool accumulate;
  float* c;
  size_t c_stride;
  uint8_t* scratch;  // AmxScratchBytes, 64-byte aligned
};
size_t AmxScratchBytes(size_t m, size_t n, size_t k);
void RunAmxGemm(const AmxGemm& gemm);

}  // namespace quantref
