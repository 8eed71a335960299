#include <immintrin.h>

#include "harness/kernels/codebook_parts.h"

// P of codebook_kernels.h, of 23 bits, is looked up as four digits, three of 6 bits and one of 5,
// so that bytes hold the sums of four of them. A vector of codes is two inputs' of sixteen outputs;
// lane by lane it meets the tables of these inputs.

namespace quantref {
namespace {

constexpr size_t kPlanes = 4, kLanes = 2;  // of a table; of a vector, one for each input
constexpr size_t kVectorBytes = 32;
constexpr size_t kVectorTables = kLanes * kTermBytes;  // of those that a vector of codes meets
static_assert(kTermBytes == kPlanes * kLevels);

// Without it GCC adds in trees, whose leaves do not fit the registers.
inline void KeepInRegister(__m256i& v) { asm("" : "+x"(v)); }

inline __m256i Load(const uint8_t* at) {
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(at));
}

// The digits of 23-bit numbers, one a byte; what is above them is lost.
inline __m256i DigitsOf(__m256i numbers) {
  const __m256i twelves = _mm256_blend_epi16(numbers, _mm256_slli_epi32(numbers, 4), 0xaa);
  const __m256i low = _mm256_and_si256(twelves, _mm256_set1_epi32(0x003f003f));
  const __m256i high =
      _mm256_and_si256(_mm256_slli_epi16(twelves, 2), _mm256_set1_epi32(0x1f003f00));
  return _mm256_or_si256(low, high);
}

// P + 2^22 of two inputs and levels 4 quarter to 4 quarter + 3, digit by digit in each lane. The
// fused operation leaves the number in the low bits of its result.
inline __m256i QuarterOf(__m256 q, const float* levels) {
  const __m256i by_digit = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  const __m256 four = _mm256_broadcast_ps(reinterpret_cast<const __m128*>(levels));
  const __m256 products = _mm256_fmadd_ps(q, four, _mm256_set1_ps(0x1.8p23f));
  return _mm256_shuffle_epi8(DigitsOf(_mm256_castps_si256(products)), by_digit);
}

// The tables of inputs x times `inverse`, an even number of them.
void MakeTables(const float* x, size_t terms, float inverse, const float* levels, uint8_t* tables) {
  const __m256 factor = _mm256_set1_ps(inverse);
  for (size_t k = 0; k < terms; k += kLanes, tables += kVectorTables) {
    const __m256 two = _mm256_set_m128(_mm_set1_ps(x[k + 1]), _mm_set1_ps(x[k]));
    const __m256 q = _mm256_mul_ps(two, factor);
    const __m256i a = QuarterOf(q, levels), b = QuarterOf(q, levels + 4);
    const __m256i c = QuarterOf(q, levels + 8), d = QuarterOf(q, levels + 12);
    const __m256i ab01 = _mm256_unpacklo_epi32(a, b), cd01 = _mm256_unpacklo_epi32(c, d);
    const __m256i ab23 = _mm256_unpackhi_epi32(a, b), cd23 = _mm256_unpackhi_epi32(c, d);
    auto* to = reinterpret_cast<__m256i*>(tables);
    _mm256_store_si256(to, _mm256_unpacklo_epi64(ab01, cd01));
    _mm256_store_si256(to + 1, _mm256_unpackhi_epi64(ab01, cd01));
    _mm256_store_si256(to + 2, _mm256_unpacklo_epi64(ab23, cd23));
    _mm256_store_si256(to + 3, _mm256_unpackhi_epi64(ab23, cd23));
  }
}

// The sum over four vectors of codes of what they look up in one plane of the tables.
inline __m256i LookUp(const uint8_t* tables, const __m256i* codes) {
  __m256i sum = _mm256_shuffle_epi8(Load(tables), codes[0]);
#pragma GCC unroll 3
  for (size_t v = 1; v < 4; ++v) {
    sum = _mm256_add_epi8(sum, _mm256_shuffle_epi8(Load(tables + v * kVectorTables), codes[v]));
    KeepInRegister(sum);
  }
  return sum;
}

// Adds bytes to sums of 16 bits: those of odd bytes, and of both, odd ones times 256, modulo 2^16.
inline void Add(__m256i bytes, __m256i& both, __m256i& odd) {
  both = _mm256_add_epi16(both, bytes);
  KeepInRegister(both);
  odd = _mm256_add_epi16(odd, _mm256_srli_epi16(bytes, 8));
  KeepInRegister(odd);
}

// Adds the products of eight inputs.
inline void AddLine(const uint8_t* codes, const uint8_t* tables, __m256i* both, __m256i* odd) {
  const __m256i low = _mm256_set1_epi8(15);
  const __m256i first = Load(codes), second = Load(codes + kVectorBytes);
  const __m256i vectors[] = {_mm256_and_si256(first, low), _mm256_and_si256(second, low),
                             _mm256_and_si256(_mm256_srli_epi16(first, 4), low),
                             _mm256_and_si256(_mm256_srli_epi16(second, 4), low)};
#pragma GCC unroll 4
  for (size_t plane = 0; plane < kPlanes; ++plane)
    Add(LookUp(tables + plane * kVectorBytes, vectors), both[plane], odd[plane]);
}

// Sixteen outputs.
struct Outputs {
  __m256 first, last;
};

// From the sums of their digits: outputs 0 to 7 in even bytes, the others in odd ones, both lanes
// having a part of each.
inline Outputs Total(const __m256i* even, const __m256i* odd) {
  __m256i sums[kPlanes];  // in order
#pragma GCC unroll 4
  for (size_t plane = 0; plane < kPlanes; ++plane) {
    sums[plane] = _mm256_add_epi16(_mm256_permute2x128_si256(even[plane], odd[plane], 0x20),
                                   _mm256_permute2x128_si256(even[plane], odd[plane], 0x31));
  }
  const __m256i weights = _mm256_set1_epi32(64 << 16 | 1);
  const auto numbers = [&](__m256i digits01, __m256i digits23) {
    return _mm256_cvtepi32_ps(
        _mm256_add_epi32(_mm256_madd_epi16(digits01, weights),
                         _mm256_slli_epi32(_mm256_madd_epi16(digits23, weights), 12)));
  };
  const __m256 low =
      numbers(_mm256_unpacklo_epi16(sums[0], sums[1]), _mm256_unpacklo_epi16(sums[2], sums[3]));
  const __m256 high =
      numbers(_mm256_unpackhi_epi16(sums[0], sums[1]), _mm256_unpackhi_epi16(sums[2], sums[3]));
  return {_mm256_permute2f128_ps(low, high, 0x20), _mm256_permute2f128_ps(low, high, 0x31)};
}

// c += unit * scales * the sums of a part's products.
inline void AddPart(const PanelPart& part, size_t stored, const uint8_t* tables, float unit,
                    float* c) {
  // What P is stored too large by, 2^22 an input, is 16 in the last plane.
  const __m256i excess = _mm256_set1_epi16(static_cast<int16_t>(-8 * static_cast<int>(stored)));
  const __m256i zero = _mm256_setzero_si256();
  __m256i odd[kPlanes] = {zero, zero, zero, excess};
  __m256i both[kPlanes] = {zero, zero, zero,
                           _mm256_add_epi16(excess, _mm256_slli_epi16(excess, 8))};
  const uint8_t* codes = part.codes;
  const uint8_t* ahead = part.ahead;
  for (size_t k = 0; k < stored; k += kPairTerms) {
#pragma GCC unroll 2
    for (size_t line = 0; line < 2; ++line) {
      _mm_prefetch(reinterpret_cast<const char*>(ahead + line * kLineBytes), _MM_HINT_T0);
      AddLine(codes + line * kLineBytes, tables + line * kLineTables, both, odd);
    }
    codes += 2 * kLineBytes;
    ahead += 2 * kLineBytes;
    tables += 2 * kLineTables;
  }
  __m256i even[kPlanes];
#pragma GCC unroll 4
  for (size_t plane = 0; plane < kPlanes; ++plane)
    even[plane] = _mm256_sub_epi16(both[plane], _mm256_slli_epi16(odd[plane], 8));
  const __m256 units = _mm256_set1_ps(unit);
  const auto add = [&](size_t at, __m256 sums) {
    const __m256 scales = _mm256_mul_ps(_mm256_loadu_ps(part.scales + at), units);
    _mm256_storeu_ps(c + at, _mm256_fmadd_ps(scales, sums, _mm256_loadu_ps(c + at)));
  };
  const Outputs outputs = Total(even, odd);
  add(0, outputs.first);
  add(8, outputs.last);
}

}  // namespace
}  // namespace quantref

#include "harness/kernels/codebook.inc"

namespace quantref {

const CodebookKernels kAvx2Codebook = {"avx2", MultiplyOp, sizeof(Scratch)};

}  // namespace quantref
