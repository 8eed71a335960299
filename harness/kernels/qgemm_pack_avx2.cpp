#include <immintrin.h>

#include "harness/kernels/qgemm_avx2.h"
#include "harness/kernels/qgemm_pack.inc"

namespace quantref {
namespace {

constexpr size_t kLanes = 8, kAtOnce = 32;

// 32 activations at a time. Codes are rounded by the conversion (to nearest, ties to even) and
// split into the digits of an unsigned number, which the bias makes of them.
class VectorPacker {
 public:
  struct Sums {
    __m256i of_digit[kMaxDigits] = {};
    int32_t Of(size_t digit) const {
      const __m256i quads = of_digit[digit];
      const __m128i two =
          _mm_add_epi64(_mm256_castsi256_si128(quads), _mm256_extracti128_si256(quads, 1));
      return static_cast<int32_t>(_mm_cvtsi128_si64(two) + _mm_extract_epi64(two, 1));
    }
  };

  // Without a scale there are only zeros.
  explicit VectorPacker(const TokenScale& scale)
      : scale_(_mm256_set1_ps(scale.scale > 0 ? scale.scale : 1)),
        limit_(_mm256_set1_ps(scale.limit)) {}

  void Pack(const PackedStep& step, Sums& sums) const {
    const __m256i bias = _mm256_set1_epi32(BiasOf(step.digits));
    for (size_t at = 0; at < step.step; at += kAtOnce) {
      float terms[kAtOnce];
      const float* x = step.x + at;
      if (at + kAtOnce > step.count) {
        const size_t left = step.count - Smaller(at, step.count);
        __builtin_memset(terms, 0, sizeof(terms));
        __builtin_memcpy(terms, step.x + Smaller(at, step.count), left * sizeof(float));
        x = terms;
      }
      __m256i codes[kAtOnce / kLanes];
#pragma GCC unroll 4
      for (size_t i = 0; i < kAtOnce / kLanes; ++i)
        codes[i] = _mm256_add_epi32(Round(x + i * kLanes), bias);
      for (size_t d = 0; d < step.digits; ++d)
        TakeDigit(codes, d, step.out + d * step.step + at, sums.of_digit[d]);
    }
  }

 private:
  // clamp(round(x / scale))
  __m256i Round(const float* x) const {
    const __m256 quotient = _mm256_div_ps(_mm256_loadu_ps(x), scale_);
    const __m256 below = _mm256_min_ps(quotient, limit_);
    return _mm256_cvtps_epi32(_mm256_max_ps(below, _mm256_sub_ps(_mm256_setzero_ps(), limit_)));
  }

  // The digit of weight 256^d of each code less 128; adds them to four sums of 64 bits.
  static void TakeDigit(const __m256i* codes, size_t d, int8_t* digits, __m256i& sums) {
    __m256i bytes[kAtOnce / kLanes];
#pragma GCC unroll 4
    for (size_t i = 0; i < kAtOnce / kLanes; ++i) {
      bytes[i] = _mm256_and_si256(_mm256_srli_epi32(codes[i], static_cast<int>(8 * d)),
                                  _mm256_set1_epi32(255));
    }
    // Packing takes the halves of vectors apart: fours of codes come in the order 0 2 4 6 1 3 5 7.
    const __m256i fours = _mm256_packus_epi16(_mm256_packus_epi32(bytes[0], bytes[1]),
                                              _mm256_packus_epi32(bytes[2], bytes[3]));
    const __m256i all =
        _mm256_permutevar8x32_epi32(fours, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(digits),
                        _mm256_xor_si256(all, _mm256_set1_epi8(-128)));
    constexpr int64_t kBiasOfEight = 8 * 128;
    sums = _mm256_add_epi64(sums, _mm256_sub_epi64(_mm256_sad_epu8(all, _mm256_setzero_si256()),
                                                   _mm256_set1_epi64x(kBiasOfEight)));
  }

  __m256 scale_, limit_;
};

}  // namespace

void PackTokenAvx2(const float* x, const QgemmRounding& rounding, const QgemmWeights& weights,
                   const QgemmInputs& inputs, size_t token) {
  PackToken<VectorPacker>(x, rounding, weights, inputs, token);
}

}  // namespace quantref
