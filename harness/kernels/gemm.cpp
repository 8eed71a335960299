#include "harness/kernels/gemm.h"

#include <limits>
#include <sstream>

#include "harness/base/check.h"
#include "harness/kernels/gemm_amx.h"
#include "harness/kernels/isa.h"
#include "harness/kernels/openblas.h"

namespace quantref {
namespace {

blasint Int(size_t n) {
  QR_CHECK_LE(n, static_cast<size_t>(std::numeric_limits<blasint>::max()));
  return static_cast<blasint>(n);
}

// c = sign op(a) op(b), plus c where `accumulate`, the products over k elements.
struct Product {
  bool transpose_a, transpose_b;
  size_t k;
  float sign = 1;
  bool accumulate = false;
};

void BlasGemm(const Product& product, MatrixView<const float> a, MatrixView<const float> b,
              MatrixView<float> c) {
  const auto transpose = [](bool is) { return is ? CblasTrans : CblasNoTrans; };
  BlasCall()->sgemm(CblasRowMajor, transpose(product.transpose_a), transpose(product.transpose_b),
                    Int(c.rows()), Int(c.cols()), Int(product.k), product.sign, a.data(),
                    Int(a.stride()), b.data(), Int(b.stride()), product.accumulate ? 1.0f : 0.0f,
                    c.data(), Int(c.stride()));
}

// Of the calling thread, grown as needed.
uint8_t* Scratch(size_t bytes) {
  thread_local Matrix<uint8_t> scratch;
  if (scratch.cols() < bytes) scratch = Matrix<uint8_t>(1, bytes);
  return scratch.data();
}

void AmxGemmOf(const Product& product, MatrixView<const float> a, MatrixView<const float> b,
               MatrixView<float> c) {
  const auto operand = [](MatrixView<const float> matrix, bool terms_in_rows) {
    return terms_in_rows ? GemmOperand{matrix.data(), matrix.stride(), 1}
                         : GemmOperand{matrix.data(), 1, matrix.stride()};
  };
  RunAmxGemm({c.rows(), c.cols(), product.k, operand(a, !product.transpose_a),
              operand(b, product.transpose_b), product.sign, product.accumulate, c.data(),
              c.stride(), Scratch(AmxScratchBytes(c.rows(), c.cols(), product.k))});
}

// Below this the tiles would be mostly empty.
constexpr size_t kLeastAmxSide = 16, kLeastAmxDepth = 32;

void Gemm(const Product& product, MatrixView<const float> a, MatrixView<const float> b,
          MatrixView<float> c) {
  const bool fills_tiles =
      c.rows() >= kLeastAmxSide && c.cols() >= kLeastAmxSide && product.k >= kLeastAmxDepth;
  if (ActiveIsa() == Isa::kAmx && fills_tiles) return AmxGemmOf(product, a, b, c);
  BlasGemm(product, a, b, c);
}

}  // namespace

void MultiplyTransposed(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c,
                        bool accumulate) {
  QR_CHECK_EQ(a.cols(), b.cols());
  QR_CHECK_EQ(a.rows(), c.rows());
  QR_CHECK_EQ(b.rows(), c.cols());
  Gemm({.transpose_a = false, .transpose_b = true, .k = a.cols(), .accumulate = accumulate}, a, b,
       c);
}

void BlasMultiplyTransposed(MatrixView<const float> a, MatrixView<const float> b,
                            MatrixView<float> c) {
  QR_CHECK_EQ(a.cols(), b.cols());
  QR_CHECK_EQ(a.rows(), c.rows());
  QR_CHECK_EQ(b.rows(), c.cols());
  if (a.rows() > 1) {
    return BlasGemm({.transpose_a = false, .transpose_b = true, .k = a.cols()}, a, b, c);
  }
  BlasCall()->sgemv(CblasRowMajor, CblasNoTrans, Int(b.rows()), Int(b.cols()), 1, b.data(),
                    Int(b.stride()), a.data(), 1, 0, c.data(), 1);
}

void Multiply(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c,
              bool accumulate) {
  QR_CHECK_EQ(a.cols(), b.rows());
  QR_CHECK_EQ(a.rows(), c.rows());
  QR_CHECK_EQ(b.cols(), c.cols());
  Gemm({.transpose_a = false, .transpose_b = false, .k = a.cols(), .accumulate = accumulate}, a, b,
       c);
}

void SubtractProduct(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c) {
  QR_CHECK_EQ(a.cols(), b.rows());
  QR_CHECK_EQ(a.rows(), c.rows());
  QR_CHECK_EQ(b.cols(), c.cols());
  Gemm({.transpose_a = false, .transpose_b = false, .k = a.cols(), .sign = -1, .accumulate = true},
       a, b, c);
}

void MultiplyFirstTransposed(MatrixView<const float> a, MatrixView<const float> b,
                             MatrixView<float> c, bool accumulate) {
  QR_CHECK_EQ(a.rows(), b.rows());
  QR_CHECK_EQ(a.cols(), c.rows());
  QR_CHECK_EQ(b.cols(), c.cols());
  Gemm({.transpose_a = true, .transpose_b = false, .k = a.rows(), .accumulate = accumulate}, a, b,
       c);
}

void MultiplyDouble(MatrixView<const double> a, MatrixView<const double> b, MatrixView<double> c) {
  QR_CHECK_EQ(a.cols(), b.rows());
  QR_CHECK_EQ(a.rows(), c.rows());
  QR_CHECK_EQ(b.cols(), c.cols());
  BlasCall()->dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, Int(a.rows()), Int(b.cols()),
                    Int(a.cols()), 1, a.data(), Int(a.stride()), b.data(), Int(b.stride()), 0,
                    c.data(), Int(c.stride()));
}

// LAPACK counts by columns: what is lower here is upper there.
bool CholeskyLower(MatrixView<double> a) {
  QR_CHECK_EQ(a.rows(), a.cols());
  const blasint n = Int(a.rows()), stride = Int(a.stride());
  blasint info = 0;
  BlasCall()->cholesky("U", &n, a.data(), &stride, &info);
  QR_CHECK(info >= 0);
  return info == 0;
}

void InvertLower(MatrixView<double> a) {
  QR_CHECK_EQ(a.rows(), a.cols());
  const blasint n = Int(a.rows()), stride = Int(a.stride());
  blasint info = 0;
  BlasCall()->invert_triangle("U", "N", &n, a.data(), &stride, &info);
  QR_CHECK_EQ(info, 0);
}

std::string BlasVersion() {
  std::istringstream words(Blas().config());  // "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH ..."
  std::string name, version;
  words >> name >> version;
  return name + " " + version;
}

std::string BlasCoreType() { return Blas().core_name(); }

}  // namespace quantref
