#pragma once

#include <cstddef>
#include <string>

#include "harness/base/matrix.h"
#include "harness/kernels/isa.h"
#include "harness/kernels/thin_gemm_kernels.h"

namespace quantref {

// A dense weight matrix (rows, cols) as it is stored, its rows side by side; data has the alignment
// of its elements.
struct DenseRows {
  enum class Type { kFp16, kBf16, kFp32 };
  const void* data = nullptr;
  Type type = Type::kFp32;
  size_t rows = 0, cols = 0;

  size_t element_bytes() const { return type == Type::kFp32 ? 4 : 2; }
  DenseRows Rows(size_t first, size_t count) const;
};

std::string DenseTypeName(DenseRows::Type type);  // "fp16", "bf16", "fp32"

// Up to this many rows of x a product is bound by the reading of W on every instruction set.
inline constexpr size_t kThinTokens = 15;

// Up to this many rows of x MultiplyThin is faster than MultiplyTransposed (gemm.h) of decoded
// rows.
size_t ThinTokens(Isa isa = ActiveIsa());

// y (T, rows) = x (T, cols) W^T on the calling thread, any T. W is read once and converted on the
// fly, so at T = 1 this runs at the speed of the memory. FP32 with fused multiply-adds in a fixed
// order (thin_gemm_kernels.h): the bits of an output do not depend on T, on the other rows or on
// the instruction set.
void MultiplyThin(MatrixView<const float> x, const DenseRows& w, MatrixView<float> y);

const ThinKernels& ThinKernelsFor(Isa isa);  // AMX has none of its own: AVX-512's

}  // namespace quantref
