#pragma once

#include <string>
#include <vector>

#include "harness/kernels/vector_ops.h"

namespace quantref {

// The instruction sets that kernels exist for, weakest first. "avx2" also asks for FMA and F16C,
// "avx512" for F, BW, DQ, VL and VNNI, "amx" for those and AMX-TILE, -BF16 and -INT8. Chosen by
// CPUID feature bits, never by the CPU's model.
enum class Isa { kScalar, kAvx2, kAvx512, kAmx };

const char* IsaName(Isa isa);
std::vector<Isa> KnownIsas();
bool CpuHas(Isa isa);  // and the operating system lets programs use it

// The best that this CPU has, or the one that QUANTREF_FORCE_ISA names. Throws Error where the
// variable names one that is unknown or that the CPU lacks: never a silent fallback. Read once.
Isa ActiveIsa();

// AMX has no elementwise operations: its table is that of AVX-512.
const VectorOps& OpsFor(Isa isa);
const VectorOps& Ops();  // OpsFor(ActiveIsa())

}  // namespace quantref
