#include "harness/kernels/gemm.h"

#include <cblas.h>

#include <limits>
#include <sstream>

#include "harness/base/check.h"

namespace quantref {
namespace {

blasint Int(size_t n) {
  QR_CHECK_LE(n, static_cast<size_t>(std::numeric_limits<blasint>::max()));
  return static_cast<blasint>(n);
}

void Gemm(CBLAS_TRANSPOSE transpose_b, MatrixView<const float> a, MatrixView<const float> b,
          MatrixView<float> c, bool accumulate) {
  static const bool single_threaded = (openblas_set_num_threads(1), true);
  (void)single_threaded;
  cblas_sgemm(CblasRowMajor, CblasNoTrans, transpose_b, Int(c.rows()), Int(c.cols()), Int(a.cols()),
              1.0f, a.data(), Int(a.stride()), b.data(), Int(b.stride()), accumulate ? 1.0f : 0.0f,
              c.data(), Int(c.stride()));
}

}  // namespace

void MultiplyTransposed(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c,
                        bool accumulate) {
  QR_CHECK_EQ(a.cols(), b.cols());
  QR_CHECK_EQ(a.rows(), c.rows());
  QR_CHECK_EQ(b.rows(), c.cols());
  Gemm(CblasTrans, a, b, c, accumulate);
}

void Multiply(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c) {
  QR_CHECK_EQ(a.cols(), b.rows());
  QR_CHECK_EQ(a.rows(), c.rows());
  QR_CHECK_EQ(b.cols(), c.cols());
  Gemm(CblasNoTrans, a, b, c, false);
}

std::string BlasVersion() {
  std::istringstream words(openblas_get_config());  // "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH ..."
  std::string name, version;
  words >> name >> version;
  return name + " " + version;
}

std::string BlasCoreType() { return openblas_get_corename(); }

}  // namespace quantref
