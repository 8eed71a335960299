#include "harness/kernels/gemm.h"

#include <cblas.h>
#include <dlfcn.h>

#include <cstdlib>
#include <limits>
#include <sstream>

#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/kernels/gemm_amx.h"
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
    case Isa::kAmx:
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
    Find(sgemv, "cblas_sgemv");
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
  decltype(&cblas_sgemv) sgemv = nullptr;
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
  Blas().sgemm(CblasRowMajor, transpose(product.transpose_a), transpose(product.transpose_b),
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
  Blas().sgemv(CblasRowMajor, CblasNoTrans, Int(b.rows()), Int(b.cols()), 1, b.data(),
               Int(b.stride()), a.data(), 1, 0, c.data(), 1);
}

void Multiply(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c) {
  QR_CHECK_EQ(a.cols(), b.rows());
  QR_CHECK_EQ(a.rows(), c.rows());
  QR_CHECK_EQ(b.cols(), c.cols());
  Gemm({.transpose_a = false, .transpose_b = false, .k = a.cols()}, a, b, c);
}

void SubtractProduct(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c) {
  QR_CHECK_EQ(a.cols(), b.rows());
  QR_CHECK_EQ(a.rows(), c.rows());
  QR_CHECK_EQ(b.cols(), c.cols());
  Gemm({.transpose_a = false, .transpose_b = false, .k = a.cols(), .sign = -1, .accumulate = true},
       a, b, c);
}

void MultiplyFirstTransposed(MatrixView<const float> a, MatrixView<const float> b,
                             MatrixView<float> c) {
  QR_CHECK_EQ(a.rows(), b.rows());
  QR_CHECK_EQ(a.cols(), c.rows());
  QR_CHECK_EQ(b.cols(), c.cols());
  Gemm({.transpose_a = true, .transpose_b = false, .k = a.rows()}, a, b, c);
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
