#include "harness/kernels/thin_gemm.h"

#include "harness/base/check.h"
#include "harness/kernels/table_for.h"

namespace quantref {

DenseRows DenseRows::Rows(size_t first, size_t count) const {
  QR_CHECK_LE(first + count, rows);
  return {static_cast<const char*>(data) + first * cols * element_bytes(), type, count, cols};
}

std::string DenseTypeName(DenseRows::Type type) {
  switch (type) {
    case DenseRows::Type::kFp16:
      return "fp16";
    case DenseRows::Type::kBf16:
      return "bf16";
    case DenseRows::Type::kFp32:
      return "fp32";
  }
  QR_CHECK(false);
  return "";
}

const ThinKernels& ThinKernelsFor(Isa isa) {
  return TableFor(isa, kScalarThin, kAvx2Thin, kAvx512Thin);
}

// AVX2's sgemm is worth packing x and decoding W for from some dozens of rows on (README.md has the
// figures).
size_t ThinTokens(Isa isa) {
  constexpr size_t kOfAvx2 = 47;
  return isa == Isa::kAvx2 ? kOfAvx2 : kThinTokens;
}

void MultiplyThin(MatrixView<const float> x, const DenseRows& w, MatrixView<float> y) {
  QR_CHECK_EQ(x.cols(), w.cols);
  QR_CHECK_EQ(x.rows(), y.rows());
  QR_CHECK_EQ(y.cols(), w.rows);
  const ThinKernels& kernels = ThinKernelsFor(ActiveIsa());
  const ThinProduct product = {w.data,     w.rows,   w.cols,   x.data(),
                               x.stride(), x.rows(), y.data(), y.stride()};
  switch (w.type) {
    case DenseRows::Type::kFp16:
      return kernels.half(product);
    case DenseRows::Type::kBf16:
      return kernels.bfloat(product);
    case DenseRows::Type::kFp32:
      return kernels.single(product);
  }
}

}  // namespace quantref
