#pragma once

#include <cblas.h>

#include <cstddef>

namespace quantref {

// The functions of OpenBLAS, which is loaded at first use: it takes its kernels from the CPU's
// model number when it is loaded, and falls back to old ones where it does not know the model. So
// it is told before which: then the bits of a result follow from the instruction set alone, and not
// from a variable left in somebody's environment either. It is told to start no threads, too: it
// ends the process, by a SIGINT, where it cannot have them.
struct OpenBlas {
  OpenBlas();  // Error where it is missing or the limits leave no room for it

  decltype(&cblas_sgemm) sgemm = nullptr;
  decltype(&cblas_sgemv) sgemv = nullptr;
  decltype(&cblas_dgemm) dgemm = nullptr;
  // As LAPACK's reference declares them (Fortran: everything by reference).
  void (*cholesky)(const char* uplo, const blasint* n, double* a, const blasint* lda,
                   blasint* info) = nullptr;
  void (*invert_triangle)(const char* uplo, const char* diagonal, const blasint* n, double* a,
                          const blasint* lda, blasint* info) = nullptr;
  decltype(&openblas_get_config) config = nullptr;
  decltype(&openblas_get_corename) core_name = nullptr;
  // A buffer for a call; it does not return where there is no room for one. Not in every build.
  void* (*take_buffer)(int) = nullptr;
  void (*give_buffer)(void*) = nullptr;

 private:
  template <typename Function>
  void Find(Function& function, const char* name);

  void* library_ = nullptr;  // never unloaded
};

// A call of OpenBLAS; there must be one around each that computes. Where the system refuses it a
// buffer OpenBLAS asks again without end. So this sees to it that there is one for each call at
// work, and throws Error where there is no room for another.
class BlasCall {
 public:
  BlasCall();
  ~BlasCall();
  BlasCall(const BlasCall&) = delete;
  BlasCall& operator=(const BlasCall&) = delete;

  const OpenBlas* operator->() const { return &blas_; }

 private:
  const OpenBlas& blas_;
};

const OpenBlas& Blas();  // for what computes nothing

// Buffers for so many calls at the same time. Error where there is no room for them.
void ReserveBlasBuffers(size_t calls);

}  // namespace quantref
