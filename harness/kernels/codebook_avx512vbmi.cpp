#include <immintrin.h>

#include "harness/kernels/codebook_parts.h"

// P of codebook_kernels.h is looked up as three bytes, each by one permutation (VBMI) of the bytes
// that four inputs' products have, for the sixteen outputs of a panel; a dot product with ones
// (VNNI) adds those of an output.

namespace quantref {
namespace {

constexpr size_t kDigits = 3;  // bytes of P + 2^22
constexpr size_t kQuad = 4;    // inputs that a vector of codes has
constexpr size_t kQuadTables = kQuad * kTermBytes;
constexpr size_t kDigitBytes = kQuad * kLevels;  // of a digit, input by input
static_assert(kDigits * kDigitBytes <= kQuadTables);

// Byte b of the result has byte from(b).
template <typename From>
inline __m512i Places(const From& from) {
  alignas(64) uint8_t places[64];
  for (size_t b = 0; b < 64; ++b) places[b] = static_cast<uint8_t>(from(b));
  return _mm512_load_si512(places);
}

// An input's products, digit by digit in the lanes. The fused operation leaves P + 2^22 in the low
// bytes of its result.
inline __m512i DigitsOf(float q, __m512 levels, __m512i by_digit) {
  const __m512 products = _mm512_fmadd_ps(_mm512_set1_ps(q), levels, _mm512_set1_ps(0x1.8p23f));
  return _mm512_permutexvar_epi8(by_digit, _mm512_castps_si512(products));
}

void MakeTables(const float* x, size_t terms, float inverse, const float* levels, uint8_t* tables) {
  const __m512i by_digit = Places([](size_t b) { return b % kLevels * 4 + b / kLevels; });
  const __m512 all = _mm512_loadu_ps(levels);
  for (size_t k = 0; k < terms; k += kQuad, tables += kQuadTables) {
    __m512i inputs[kQuad];
    for (size_t i = 0; i < kQuad; ++i) inputs[i] = DigitsOf(x[k + i] * inverse, all, by_digit);
    const __m512i a = _mm512_shuffle_i64x2(inputs[0], inputs[1], 0x44);
    const __m512i b = _mm512_shuffle_i64x2(inputs[2], inputs[3], 0x44);
    const __m512i c = _mm512_shuffle_i64x2(inputs[0], inputs[1], 0xee);
    const __m512i d = _mm512_shuffle_i64x2(inputs[2], inputs[3], 0xee);
    _mm512_store_si512(tables, _mm512_shuffle_i64x2(a, b, 0x88));
    _mm512_store_si512(tables + kDigitBytes, _mm512_shuffle_i64x2(a, b, 0xdd));
    _mm512_store_si512(tables + 2 * kDigitBytes, _mm512_shuffle_i64x2(c, d, 0x88));
  }
}

// Adds to each output's sums, one for a digit, what codes in the low bits look up of four inputs.
inline void AddQuad(__m512i codes, const uint8_t* tables, __m512i* sums) {
  const __m512i ones = _mm512_set1_epi8(1);
#pragma GCC unroll 3
  for (size_t d = 0; d < kDigits; ++d) {
    const __m512i digits =
        _mm512_permutexvar_epi8(codes, _mm512_load_si512(tables + d * kDigitBytes));
    sums[d] = _mm512_dpbusd_epi32(sums[d], digits, ones);
    asm("" : "+v"(sums[d]));  // else GCC copies each sum for every operation
  }
}

// c += unit * scales * the sums of a part's products. Inlined, so that its constants stay in
// registers from part to part.
__attribute__((always_inline)) inline void AddPart(const PanelPart& part, size_t stored,
                                                   const uint8_t* tables, float unit, float* c) {
  // An output's codes of four inputs side by side, the outputs in order.
  const __m512i by_output = Places([](size_t b) { return CodebookByte(b / kQuad, b % kQuad); });
  const __m512i inputs = Places([](size_t b) { return b % kQuad * kLevels; });
  const __m512i low = _mm512_set1_epi8(15);
  constexpr int kMasked = 0xea;  // (a & b) | c
  __m512i first[kDigits] = {}, second[kDigits] = {};
  for (size_t line = 0; line < stored / kLineTerms; ++line, tables += kLineTables) {
    _mm_prefetch(reinterpret_cast<const char*>(part.ahead + line * kLineBytes), _MM_HINT_T0);
    const __m512i codes =
        _mm512_permutexvar_epi8(by_output, _mm512_load_si512(part.codes + line * kLineBytes));
    AddQuad(_mm512_ternarylogic_epi32(codes, low, inputs, kMasked), tables, first);
    AddQuad(_mm512_ternarylogic_epi32(_mm512_srli_epi32(codes, 4), low, inputs, kMasked),
            tables + kQuadTables, second);
  }
  const auto digit = [&](size_t d) { return _mm512_add_epi32(first[d], second[d]); };
  const __m512i high = _mm512_add_epi32(_mm512_slli_epi32(digit(2), 8), digit(1));
  const __m512i all = _mm512_add_epi32(_mm512_slli_epi32(high, 8), digit(0));
  const __m512i sum = _mm512_sub_epi32(all, _mm512_set1_epi32(static_cast<int>(stored << 22)));
  const __m512 scales = _mm512_mul_ps(_mm512_loadu_ps(part.scales), _mm512_set1_ps(unit));
  _mm512_storeu_ps(c, _mm512_fmadd_ps(scales, _mm512_cvtepi32_ps(sum), _mm512_loadu_ps(c)));
}

}  // namespace
}  // namespace quantref

#include "harness/kernels/codebook.inc"

namespace quantref {

const CodebookKernels kAvx512VbmiCodebook = {"avx512+vbmi", MultiplyOp, sizeof(Scratch)};

}  // namespace quantref
