#include "harness/kernels/probes_avx512.inc"

namespace quantref {
namespace {

constexpr size_t kSums = 12, kBytes = 64;

int64_t DotOp(size_t rounds, uint8_t a, int8_t b) {
  const __m512i left = _mm512_set1_epi8(static_cast<char>(a)), right = _mm512_set1_epi8(b);
  __m512i sums[kSums];
  for (__m512i& sum : sums) {
    sum = _mm512_setzero_si512();
    asm volatile("" : "+v"(sum));
  }
  for (size_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (size_t s = 0; s < kSums; ++s) sums[s] = _mm512_dpbusd_epi32(sums[s], left, right);
  }
  int64_t total = 0;
  for (const __m512i sum : sums) {
    alignas(64) int32_t lanes[16];
    _mm512_store_si512(lanes, sum);
    total += SumOf(lanes, 16);
  }
  return total;
}

}  // namespace

const ProbeOps kAvx512Probes = {"avx512",          ReadOp, 2 * kChains* kFloats, FmaOp,
                                2 * kSums* kBytes, DotOp};

}  // namespace quantref
