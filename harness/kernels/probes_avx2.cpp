#include <immintrin.h>

#include "harness/kernels/probe_kernels.h"

namespace quantref {
namespace {

constexpr size_t kPage = 4096;
constexpr size_t kPages = kProbeBlock / kPage;  // read side by side: a stream of prefetches each

uint64_t ReadOp(const void* data, size_t bytes) {
  const char* at = static_cast<const char*>(data);
  __m256i sums[kPages][2] = {};
  for (const char* end = at + bytes; at < end; at += kProbeBlock) {
    for (size_t i = 0; i < kPage; i += 64) {
#pragma GCC unroll 4
      for (size_t p = 0; p < kPages; ++p) {
        const auto* from = reinterpret_cast<const __m256i*>(at + p * kPage + i);
        _mm_prefetch(at + kProbeBlock + p * kPage + i, _MM_HINT_T1);
        sums[p][0] = _mm256_add_epi64(sums[p][0], _mm256_load_si256(from));
        sums[p][1] = _mm256_add_epi64(sums[p][1], _mm256_load_si256(from + 1));
      }
    }
  }
  __m256i all = _mm256_setzero_si256();
  for (const auto& pair : sums) all = _mm256_add_epi64(all, _mm256_add_epi64(pair[0], pair[1]));
  alignas(32) uint64_t lanes[4];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), all);
  return lanes[0] + lanes[1] + lanes[2] + lanes[3];
}

constexpr size_t kChains = 12, kFloats = 8;

double FmaOp(size_t rounds, float factor, float term) {
  const __m256 f = _mm256_set1_ps(factor), t = _mm256_set1_ps(term);
  __m256 x[kChains];
  for (__m256& value : x) {
    value = _mm256_setzero_ps();
    asm volatile("" : "+x"(value));  // else the chains were known to be equal, and made once
  }
  for (size_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (size_t c = 0; c < kChains; ++c) x[c] = _mm256_fmadd_ps(x[c], f, t);
  }
  double sum = 0;
  for (const __m256 value : x) {
    alignas(32) float lanes[kFloats];
    _mm256_store_ps(lanes, value);
    for (const float lane : lanes) sum += static_cast<double>(lane);
  }
  return sum;
}

constexpr size_t kSums = 8, kBytes = 32;

// maddubs adds pairs in 16 bits, saturated: exact where 2 |a b| < 2^15.
int64_t DotOp(size_t rounds, uint8_t a, int8_t b) {
  __m256i left = _mm256_set1_epi8(static_cast<char>(a));
  const __m256i right = _mm256_set1_epi8(b), ones = _mm256_set1_epi16(1);
  __m256i sums[kSums];
  for (__m256i& sum : sums) {
    sum = _mm256_setzero_si256();
    asm volatile("" : "+x"(sum));
  }
  for (size_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 8
    for (size_t s = 0; s < kSums; ++s) {
      asm volatile("" : "+x"(left));  // as if it were another: the products are not hoisted
      const __m256i pairs = _mm256_maddubs_epi16(left, right);
      sums[s] = _mm256_add_epi32(sums[s], _mm256_madd_epi16(pairs, ones));
    }
  }
  int64_t total = 0;
  for (const __m256i sum : sums) {
    alignas(32) int32_t lanes[8];
    _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), sum);
    for (const int32_t lane : lanes) total += lane;
  }
  return total;
}

}  // namespace

const ProbeOps kAvx2Probes = {"avx2", ReadOp, 2 * kChains* kFloats, FmaOp, 2 * kSums* kBytes,
                              DotOp};

}  // namespace quantref
