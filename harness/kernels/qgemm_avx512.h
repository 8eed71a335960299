#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "harness/kernels/qgemm_rows.h"

// What the AVX-512 and AMX kernels share. Only files compiled for AVX-512 include this; its
// functions are static, so that no other file can be given a copy of them.

namespace quantref {

// QgemmOps::pack_token.
void PackTokenByVectors(const float* x, const QgemmRounding& rounding, const QgemmWeights& weights,
                        const QgemmInputs& inputs, size_t token);

// The outputs of panels [first, end) by VNNI, for any number of tokens.
void MultiplyVnni(const Qgemm& gemm, size_t first, size_t end);

static inline size_t Larger(size_t a, size_t b) { return a > b ? a : b; }

// The first n lanes of 16.
static inline __mmask16 FirstOf(size_t n) {
  return static_cast<__mmask16>(n >= 16 ? 0xffff : (1u << n) - 1);
}

inline constexpr size_t kRowBytes = 64;  // of a block's unpacked codes

static inline __m512i LookUpOf(const QgemmWeights& w) {
  return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w.look_up)));
}

// Row r of a block's codes.
template <int kCodes>
static inline __m512i CodesOf(const uint8_t* block, size_t r, __m512i look_up) {
  constexpr int kBits = BitsOf(kCodes);
  if constexpr (kBits == 8) return _mm512_load_si512(block + r * kRowBytes);
  if constexpr (kBits == 4) {
    const __m512i pair = _mm512_load_si512(block + r / 2 * kRowBytes);
    const __m512i low = r % 2 == 0 ? pair : _mm512_srli_epi16(pair, 4);
    const __m512i codes = _mm512_and_si512(low, _mm512_set1_epi8(15));
    return kCodes == kLookedCodes ? _mm512_shuffle_epi8(look_up, codes) : codes;
  }
  const __m512i four = _mm512_load_si512(block + r / 4 * kRowBytes);
  const __m512i low = _mm512_and_si512(_mm512_srli_epi16(four, static_cast<unsigned>(2 * (r % 4))),
                                       _mm512_set1_epi8(3));
  if constexpr (kBits == 2) return low;
  const __m512i third = _mm512_load_si512(block + 2 * kRowBytes);
  const __mmask64 set = _mm512_test_epi8_mask(third, _mm512_set1_epi8(static_cast<char>(1 << r)));
  return _mm512_or_si512(low, _mm512_maskz_set1_epi8(set, 4));
}

static inline __m512 GroupScales(const QgemmWeights& w, const uint8_t* panel, size_t group) {
  const uint8_t* at = panel + w.scales_at + group * kPanelRows * ScaleBytes(w);
  if (w.wide_scales) return _mm512_loadu_ps(at);
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
}

static inline __m512 GroupRests(const QgemmWeights& w, const uint8_t* panel, size_t group) {
  return _mm512_loadu_ps(panel + w.rests_at + group * kPanelRows * sizeof(float));
}

// The zero points as pairs (z, 128 z), as QgemmInputs::sums asks for.
static inline __m512i GroupZeros(const QgemmWeights& w, const uint8_t* panel, size_t group) {
  const uint8_t* at = panel + w.zeros_at + group * kPanelRows;
  const __m512i z = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
  return _mm512_or_si512(z, _mm512_slli_epi32(z, 16 + 7));
}

// One token's f of qgemm_kernels.h from its digits' sums over code - zero.
template <size_t kDigits>
static inline __m512 Combine(const __m512i* sums) {
  const auto digit = [&](size_t d) { return _mm512_cvtepi32_ps(sums[d]); };
  if constexpr (kDigits == 1) return digit(0);
  const __m512 low = _mm512_fmadd_ps(_mm512_set1_ps(256), digit(1), digit(0));
  return _mm512_fmadd_ps(_mm512_set1_ps(65536), digit(2), low);
}

// The same from sums over codes, without the zero points yet.
template <size_t kDigits>
static inline __m512 Combine(const __m512i* sums, __m512i zeros, const int32_t* pairs) {
  __m512i corrected[kDigits];
#pragma GCC unroll 3
  for (size_t d = 0; d < kDigits; ++d)
    corrected[d] = _mm512_dpwssd_epi32(sums[d], zeros, _mm512_set1_epi32(pairs[d]));
  return Combine<kDigits>(corrected);
}

}  // namespace quantref
