#include <immintrin.h>

#include "harness/kernels/codebook_parts.h"

// P of codebook_kernels.h is looked up whole, by one permutation of an input's sixteen products for
// the sixteen outputs of a panel.

namespace quantref {
namespace {

// What P is stored too large by: the fused operation leaves the number in the low bits of its
// result, 0x1.8p23 + P.
constexpr int kExcess = 0x4b400000;

void MakeTables(const float* x, size_t terms, float inverse, const float* levels, uint8_t* tables) {
  const __m512 all = _mm512_loadu_ps(levels), magic = _mm512_set1_ps(0x1.8p23f);
  for (size_t k = 0; k < terms; ++k, tables += kTermBytes)
    _mm512_store_ps(tables, _mm512_fmadd_ps(_mm512_set1_ps(x[k] * inverse), all, magic));
}

// The outputs' products with an input, by codes in the low bits.
inline __m512i LookUp(__m512i codes, const uint8_t* table) {
  return _mm512_permutexvar_epi32(codes, _mm512_load_si512(table));
}

// Adds the products of eight inputs, of which four have the low halves of bytes.
inline void AddLine(const uint8_t* codes, const uint8_t* tables, __m512i* sums) {
#pragma GCC unroll 4
  for (size_t k = 0; k < kLineTerms / 2; ++k) {
    const __m128i bytes = _mm_load_si128(reinterpret_cast<const __m128i*>(codes + k * kPanelRows));
    const __m512i pairs = _mm512_cvtepu8_epi32(bytes);
    const __m512i low = LookUp(pairs, tables + k * kTermBytes);
    const __m512i high =
        LookUp(_mm512_srli_epi32(pairs, 4), tables + (k + kLineTerms / 2) * kTermBytes);
    sums[0] = _mm512_add_epi32(sums[0], low);
    sums[1] = _mm512_add_epi32(sums[1], high);
  }
}

// c += unit * scales * the sums of a part's products.
inline void AddPart(const PanelPart& part, size_t stored, const uint8_t* tables, float unit,
                    float* c) {
  const uint32_t excess = static_cast<uint32_t>(stored) * static_cast<uint32_t>(kExcess);
  __m512i sums[] = {_mm512_set1_epi32(static_cast<int>(0u - excess)), _mm512_setzero_si512()};
  for (size_t line = 0; line < stored / kLineTerms; ++line) {
    _mm_prefetch(reinterpret_cast<const char*>(part.ahead + line * kLineBytes), _MM_HINT_T0);
    AddLine(part.codes + line * kLineBytes, tables + line * kLineTables, sums);
  }
  // Outputs 0 to 7 stand in even places (CodebookByte).
  const __m512i places = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
  const __m512i sum = _mm512_permutexvar_epi32(places, _mm512_add_epi32(sums[0], sums[1]));
  const __m512 scales = _mm512_mul_ps(_mm512_loadu_ps(part.scales), _mm512_set1_ps(unit));
  _mm512_storeu_ps(c, _mm512_fmadd_ps(scales, _mm512_cvtepi32_ps(sum), _mm512_loadu_ps(c)));
}

}  // namespace
}  // namespace quantref

#include "harness/kernels/codebook.inc"

namespace quantref {

const CodebookKernels kAvx512Codebook = {"avx512", MultiplyOp, sizeof(Scratch)};

}  // namespace quantref
