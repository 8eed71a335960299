#include "harness/kernels/openblas.h"

#include <dlfcn.h>
#include <sys/mman.h>

#include <atomic>
#include <cstdlib>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <vector>

#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/kernels/blas_memory.h"
#include "harness/kernels/isa.h"

namespace quantref {
namespace {

constexpr char kRoomHint[] =
    "raise the limit of address space (ulimit -v, or what the batch system sets it from), or use "
    "fewer --threads: each may need a buffer";

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

// With more OpenBLAS gives null for a buffer, and writes there (0.3.21: 640, as Debian builds it).
constexpr size_t kMostBuffers = 512;

// Whether the system would give so much now.
bool HasRoom(size_t bytes) {
  void* const room =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (room == MAP_FAILED) return false;
  munmap(room, bytes);
  return true;
}

std::string Megabytes(size_t bytes) { return std::to_string(bytes >> 20) + " MiB"; }

// Calls at work or about to be, and the buffers there are. Held by calls at work, and alone by
// whoever adds buffers: a call that ends meanwhile would leave its own to be taken for a new one.
std::atomic<size_t> calls{0}, buffers{0};
std::shared_mutex at_work;

}  // namespace

OpenBlas::OpenBlas() {
  setenv("OPENBLAS_CORETYPE", CoreTypeFor(ActiveIsa()), 1);  // whatever it was
  setenv("OPENBLAS_NUM_THREADS", "1", 1);
  if (!HasRoom(kBlasLibraryBytes)) {
    throw Error("no room for OpenBLAS: expected " + Megabytes(kBlasLibraryBytes) +
                    " of address space, found less",
                "memory", kRoomHint);
  }
  library_ = dlopen(QUANTREF_OPENBLAS, RTLD_NOW | RTLD_LOCAL);
  if (library_ == nullptr) library_ = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
  if (library_ == nullptr) {
    throw Error(std::string("OpenBLAS cannot be loaded: ") + dlerror(), QUANTREF_OPENBLAS,
                "install Debian's libopenblas0-pthread");
  }
  Find(sgemm, "cblas_sgemm");
  Find(sgemv, "cblas_sgemv");
  Find(dgemm, "cblas_dgemm");
  Find(cholesky, "dpotrf_");
  Find(invert_triangle, "dtrtri_");
  Find(config, "openblas_get_config");
  Find(core_name, "openblas_get_corename");
  decltype(&openblas_set_num_threads) set_num_threads = nullptr;
  Find(set_num_threads, "openblas_set_num_threads");
  take_buffer = reinterpret_cast<decltype(take_buffer)>(dlsym(library_, "blas_memory_alloc"));
  give_buffer = reinterpret_cast<decltype(give_buffer)>(dlsym(library_, "blas_memory_free"));
  set_num_threads(1);  // it may have been loaded by another library before
}

template <typename Function>
void OpenBlas::Find(Function& function, const char* name) {
  function = reinterpret_cast<Function>(dlsym(library_, name));
  if (function == nullptr) {
    throw Error(std::string("it lacks the function ") + name, QUANTREF_OPENBLAS);
  }
}

const OpenBlas& Blas() {
  static const OpenBlas blas;
  return blas;
}

void ReserveBlasBuffers(size_t count) {
  const OpenBlas& blas = Blas();
  const std::unique_lock lock(at_work);
  if (count <= buffers) return;
  if (count > kMostBuffers) {
    throw Error("expected at most " + std::to_string(kMostBuffers) +
                    " calls of OpenBLAS at the same time, found " + std::to_string(count),
                "threads", "use fewer --threads");
  }
  if (!HasRoom((count - buffers) * kBlasBufferBytes)) {
    throw Error("no room for another buffer of OpenBLAS: expected " + Megabytes(kBlasBufferBytes) +
                    " of address space beside " + std::to_string(buffers) +
                    " that it has, found less",
                "memory", kRoomHint);
  }
  if (blas.take_buffer != nullptr && blas.give_buffer != nullptr) {
    std::vector<void*> taken(count);
    for (void*& buffer : taken) buffer = blas.take_buffer(0);
    for (void* buffer : taken) blas.give_buffer(buffer);
  }
  buffers = count;
}

BlasCall::BlasCall() : blas_(Blas()) {
  const size_t needed = ++calls;
  try {
    if (needed > buffers) ReserveBlasBuffers(needed);
  } catch (...) {
    --calls;
    throw;
  }
  at_work.lock_shared();
}

BlasCall::~BlasCall() {
  at_work.unlock_shared();
  --calls;
}

}  // namespace quantref
