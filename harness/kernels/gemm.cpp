#include "harness/kernels/gemm.h"

#include <cblas.h>
#include <dlfcn.h>

#include <cstdlib>
#include <limits>
#include <sstream>

#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/kernels/isa.h"

namespace quantref {
namespace {

// OpenBLAS takes its kernels from the CPU's model number when it is loaded, and falls back to old
// ones where it does not know the model. So it is loaded here, at first use, after it was told
// which: then the bits of a result follow from the instruction set alone, and not from a variable
// left in somebody's environment either.
const char* CoreTypeFor(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return "Prescott";
    case Isa::kAvx2:
      return "Haswell";
    case Isa::kAvx512:
      return "SkylakeX";
  }
  QR_CHECK(false);
  return "";
}

struct OpenBlas {
  OpenBlas() {
    setenv("OPENBLAS_CORETYPE", CoreTypeFor(ActiveIsa()), 1);  // whatever it was: see above
    library = dlopen(QUANTREF_OPENBLAS, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      throw Error(std::string("OpenBLAS cannot be loaded: ") + dlerror(), QUANTREF_OPENBLAS,
                  "install Debian's libopenblas0-pthread");
    }
    Find(sgemm, "cblas_sgemm");
    Find(cholesky, "dpotrf_");
    Find(invert_triangle, "dtrtri_");
    Find(config, "openblas_get_config");
    Find(core_name, "openblas_get_corename");
    decltype(&openblas_set_num_threads) set_num_threads = nullptr;
    Find(set_num_threads, "openblas_set_num_threads");
    set_num_threads(1);
  }

  template <typename Function>
  void Find(Function& function, const char* name) {
    function = reinterpret_cast<Function>(dlsym(library, name));
    if (function == nullptr) {
      throw Error(std::string("it lacks the function ") + name, QUANTREF_OPENBLAS);
    }
  }

  void* library = nullptr;  // never unloaded: its threads would not survive it
  decltype(&cblas_sgemm) sgemm = nullptr;
  // As LAPACK's reference declares them (Fortran: everything by reference).
  void (*cholesky)(const char* uplo, const blasint* n, double* a, const blasint* lda,
                   blasint* info) = nullptr;
  void (*invert_triangle)(const char* uplo, const char* diagonal, const blasint* n, double* a,
                          const blasint* lda, blasint* info) = nullptr;
  decltype(&openblas_get_config) config = nullptr;
  decltype(&openblas_get_corename) core_name = nullptr;
};

const OpenBlas& Blas() {
  static const OpenBlas blas;
  return blas;
}

blasint Int(size_t n) {
  QR_CHECK_LE(n, static_cast<size_t>(std::numeric_limits<blasint>::max()));
  return static_cast<blasint>(n);
}

// c = alpha op(a) op(b) + beta c, the products over k elements.
struct Factors {
  CBLAS_TRANSPOSE transpose_a, transpose_b;
  float alpha, beta;
};
void Gemm(const Factors& factors, size_t k, MatrixView<const float> a, MatrixView<const float> b,
          MatrixView<float> c) {
  Blas().sgemm(CblasRowMajor, factors.transpose_a, factors.transpose_b, Int(c.rows()),
               Int(c.cols()), Int(k), factors.alpha, a.data(), Int(a.stride()), b.data(),
               Int(b.stride()), factors.beta, c.data(), Int(c.stride()));
}

}  // namespace

void MultiplyTransposed(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c,
                        bool accumulate) {
  QR_CHECK_EQ(a.cols(), b.cols());
  QR_CHECK_EQ(a.rows(), c.rows());
  QR_CHECK_EQ(b.rows(), c.cols());
  Gemm({CblasNoTrans, CblasTrans, 1.0f, accumulate ? 1.0f : 0.0f}, a.cols(), a, b, c);
}

void Multiply(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c) {
  QR_CHECK_EQ(a.cols(), b.rows());
  QR_CHECK_EQ(a.rows(), c.rows());
  QR_CHECK_EQ(b.cols(), c.cols());
  Gemm({CblasNoTrans, CblasNoTrans, 1.0f, 0.0f}, a.cols(), a, b, c);
}

void SubtractProduct(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c) {
  QR_CHECK_EQ(a.cols(), b.rows());
  QR_CHECK_EQ(a.rows(), c.rows());
  QR_CHECK_EQ(b.cols(), c.cols());
  Gemm({CblasNoTrans, CblasNoTrans, -1.0f, 1.0f}, a.cols(), a, b, c);
}

void MultiplyFirstTransposed(MatrixView<const float> a, MatrixView<const float> b,
                             MatrixView<float> c) {
  QR_CHECK_EQ(a.rows(), b.rows());
  QR_CHECK_EQ(a.cols(), c.rows());
  QR_CHECK_EQ(b.cols(), c.cols());
  Gemm({CblasTrans, CblasNoTrans, 1.0f, 0.0f}, a.rows(), a, b, c);
}

// LAPACK counts by columns: what is lower here is upper there.
bool CholeskyLower(MatrixView<double> a) {
  QR_CHECK_EQ(a.rows(), a.cols());
  const blasint n = Int(a.rows()), stride = Int(a.stride());
  blasint info = 0;
  Blas().cholesky("U", &n, a.data(), &stride, &info);
  QR_CHECK(info >= 0);
  return info == 0;
}

void InvertLower(MatrixView<double> a) {
  QR_CHECK_EQ(a.rows(), a.cols());
  const blasint n = Int(a.rows()), stride = Int(a.stride());
  blasint info = 0;
  Blas().invert_triangle("U", "N", &n, a.data(), &stride, &info);
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
