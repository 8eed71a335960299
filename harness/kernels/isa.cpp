#include "harness/kernels/isa.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>

#include "harness/base/check.h"
#include "harness/base/error.h"

namespace quantref {
namespace {

// Clang's __builtin_cpu_supports does not know it. That the OS keeps the registers is AVX2's
// question.
bool CpuHasF16c() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

// AMX-TILE, AMX-BF16 and AMX-INT8, and Linux's leave to use the tiles' registers, which it must be
// asked for once and which threads inherit.
bool CpuHasAmx() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  constexpr unsigned kBf16 = 1u << 22, kTile = 1u << 24, kInt8 = 1u << 25;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return false;
  constexpr unsigned kNeeded = kBf16 | kTile | kInt8;
  if ((edx & kNeeded) != kNeeded) return false;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM
  static const bool allowed = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return allowed;
}

Isa Choose() {
  const char* forced = std::getenv("QUANTREF_FORCE_ISA");
  Isa best = Isa::kScalar;
  std::string known;
  for (Isa isa : KnownIsas()) {
    if (forced == nullptr && CpuHas(isa)) best = isa;
    known += std::string(known.empty() ? "" : ", ") + IsaName(isa);
    if (forced == nullptr || std::string(forced) != IsaName(isa)) continue;
    if (!CpuHas(isa)) {
      throw Error(std::string("this CPU lacks ") + forced, "QUANTREF_FORCE_ISA",
                  "unset the variable to use the best that the CPU has");
    }
    return isa;
  }
  if (forced != nullptr)
    throw Error(std::string("no kernels for '") + forced + "'; there are " + known,
                "QUANTREF_FORCE_ISA");
  return best;
}

}  // namespace

const char* IsaName(Isa isa) { return isa == Isa::kAmx ? "amx" : OpsFor(isa).name; }

std::vector<Isa> KnownIsas() { return {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kAmx}; }

bool CpuHas(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return true;
    case Isa::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && CpuHasF16c();
    case Isa::kAvx512:
      return CpuHas(Isa::kAvx2) && __builtin_cpu_supports("avx512f") &&
             __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
    case Isa::kAmx:
      return CpuHas(Isa::kAvx512) && CpuHasAmx();
  }
  QR_CHECK(false);
  return false;
}

Isa ActiveIsa() {
  static const Isa active = Choose();
  return active;
}

}  // namespace quantref
