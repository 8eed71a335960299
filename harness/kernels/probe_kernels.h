#pragma once

#include <cstddef>
#include <cstdint>

// Included by files compiled for other instruction sets: plain types and declarations only, as
// vector_ops.h explains. probes.h is the door for everybody else.

namespace quantref {

// Loops that run at the limits of one core, one table an instruction set. Each returns a sum that
// follows from its arguments, so that no loop can be optimised away, and a wrong one is found.
struct ProbeOps {
  const char* name;
  // The sum modulo 2^64 of the 64-bit words of data: 64-byte aligned, bytes a multiple of
  // kProbeBlock.
  uint64_t (*read)(const void* data, size_t bytes);
  // Independent chains x = fma(x, factor, term) from 0, `rounds` times: the sum of all x, each of
  // them rounds * term where factor is 1.
  size_t fma_operations;  // a round; a fused multiply-add counts 2
  double (*fma)(size_t rounds, float factor, float term);
  // Sums of products of bytes a * b in 32 bits, in the registers: their sum. With |a b| rounds <
  // 2^24 none overflows.
  size_t dot_operations;  // a round; a multiply-add counts 2
  int64_t (*dot)(size_t rounds, uint8_t a, int8_t b);
};

inline constexpr size_t kProbeBlock = 16384;

extern const ProbeOps kScalarProbes;
extern const ProbeOps kAvx2Probes;
extern const ProbeOps kAvx512Probes;  // with VNNI
extern const ProbeOps kAmxProbes;     // dot on the tiles; read and fma as AVX-512

}  // namespace quantref
