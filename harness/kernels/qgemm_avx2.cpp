#include <immintrin.h>

#include "harness/kernels/qgemm_pack.inc"

namespace quantref {
namespace {

constexpr size_t kRowBytes = 64;         // of a block's unpacked codes
constexpr size_t kHalf = 32;             // bytes of a vector: 8 outputs
constexpr size_t kMostRows = 4;          // of activations in one go
constexpr size_t kInputBytes = 1 << 19;  // of activations that stay in the L2 cache

// Half h of row r of a block's codes, as numbers below 16: the low (plane 0) or high nibbles of
// 8-bit codes, else (plane 0) the codes. Products of such with signed bytes, in pairs, fit 16 bits.
template <int kBits>
inline __m256i PlaneOf(const uint8_t* block, size_t r, size_t h, size_t plane) {
  const auto load = [&](size_t row) {
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(block + row * kRowBytes + h * kHalf));
  };
  const auto field = [](__m256i bytes, size_t shift, int mask) {
    return _mm256_and_si256(_mm256_srli_epi16(bytes, static_cast<int>(shift)),
                            _mm256_set1_epi8(static_cast<char>(mask)));
  };
  if constexpr (kBits == 8) return field(load(r), 4 * plane, 15);
  if constexpr (kBits == 4) return field(load(r / 2), 4 * (r % 2), 15);
  const __m256i low = field(load(r / 4), 2 * (r % 4), 3);
  if constexpr (kBits == 2) return low;
  return _mm256_or_si256(low, _mm256_slli_epi16(field(load(2), r, 1), 2));
}

inline __m256i Broadcast(const int8_t* four) {
  int32_t word;
  __builtin_memcpy(&word, four, sizeof(word));
  return _mm256_set1_epi32(word);
}

// A few rows of activations, in one block of them.
struct Rows {
  const int8_t* values;  // of the first row, the first step
  size_t height;         // of the block
  size_t first;          // row of all
};

// Adds a block's products to sums. The 8 products of a lane, each pair within 2 * 15 * 128, fit 16
// bits.
template <int kBits, size_t kRows>
inline void AddBlock(const uint8_t* block, const int8_t* values, size_t step, size_t h,
                     __m256i sums[kRows]) {
  for (size_t plane = 0; plane < (kBits == 8 ? 2 : 1); ++plane) {
    __m256i pairs[kRows];
    for (size_t v = 0; v < kRows; ++v) pairs[v] = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (size_t r = 0; r < kBlockTerms / kDotTerms; ++r) {
      const __m256i w = PlaneOf<kBits>(block, r, h, plane);
#pragma GCC unroll 8
      for (size_t v = 0; v < kRows; ++v) {
        pairs[v] = _mm256_add_epi16(
            pairs[v], _mm256_maddubs_epi16(w, Broadcast(values + v * step + kDotTerms * r)));
      }
    }
    const __m256i weight = _mm256_set1_epi16(plane == 0 ? 1 : 16);
    for (size_t v = 0; v < kRows; ++v)
      sums[v] = _mm256_add_epi32(sums[v], _mm256_madd_epi16(pairs[v], weight));
  }
}

inline __m256 ScalesOf(const QgemmWeights& w, const uint8_t* panel, size_t g, size_t h) {
  const uint8_t* at = panel + w.scales_at + (g * kPanelRows + 8 * h) * sizeof(uint16_t);
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
}

// The zero points as pairs (z, 128 z), as QgemmInputs::sums asks for.
inline __m256i ZerosOf(const QgemmWeights& w, const uint8_t* panel, size_t g, size_t h) {
  const uint8_t* at = panel + w.zeros_at + g * kPanelRows + 8 * h;
  const __m256i z = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(at)));
  return _mm256_or_si256(z, _mm256_slli_epi32(z, 16 + 7));
}

template <size_t kDigits>
inline __m256 Combine(const __m256i* sums, __m256i zeros, const int32_t* pairs) {
  const auto digit = [&](size_t d) {
    const __m256i correction = _mm256_madd_epi16(zeros, _mm256_set1_epi32(pairs[d]));
    return _mm256_cvtepi32_ps(_mm256_add_epi32(sums[d], correction));
  };
  if constexpr (kDigits == 1) return digit(0);
  const __m256 low = _mm256_fmadd_ps(_mm256_set1_ps(256), digit(1), digit(0));
  return _mm256_fmadd_ps(_mm256_set1_ps(65536), digit(2), low);
}

// 8 outputs of a panel for kTokens tokens, into y (kTokens, 8).
template <int kBits, size_t kDigits, size_t kTokens>
void MultiplyHalf(const Qgemm& gemm, const uint8_t* panel, const Rows& rows, size_t h, float* y) {
  constexpr size_t kRows = kDigits * kTokens;
  const QgemmWeights& w = gemm.weights;
  const size_t all_rows = gemm.inputs.tokens * kDigits, token = rows.first / kDigits;
  __m256 c[kTokens];
  for (size_t t = 0; t < kTokens; ++t) c[t] = _mm256_setzero_ps();
  const uint8_t* codes = panel;
  const int8_t* values = rows.values;
  for (size_t g = 0; g < w.groups; ++g) {
    __m256i sums[kRows];
    for (size_t v = 0; v < kRows; ++v) sums[v] = _mm256_setzero_si256();
    for (size_t s = 0; s < w.steps; ++s, values += rows.height * w.step) {
      for (size_t at = 0; at < w.step; at += kBlockTerms, codes += kRowBytes * kBits)
        AddBlock<kBits, kRows>(codes, values + at, w.step, h, sums);
    }
    const __m256 scale = ScalesOf(w, panel, g, h);
    const __m256i zeros = ZerosOf(w, panel, g, h);
    const int32_t* pairs = gemm.inputs.sums + g * all_rows + rows.first;
    for (size_t t = 0; t < kTokens; ++t)
      c[t] = _mm256_fmadd_ps(
          scale, Combine<kDigits>(sums + t * kDigits, zeros, pairs + t * kDigits), c[t]);
  }
  for (size_t t = 0; t < kTokens; ++t) {
    _mm256_storeu_ps(y + 8 * t, _mm256_mul_ps(_mm256_set1_ps(gemm.inputs.scales[token + t]), c[t]));
  }
}

using HalfFunction = void(const Qgemm&, const uint8_t*, const Rows&, size_t, float*);
template <int kBits, size_t kDigits>
constexpr HalfFunction* kByTokens[kMostRows + 1] = {
    nullptr, MultiplyHalf<kBits, kDigits, 1>, MultiplyHalf<kBits, kDigits, kDigits == 1 ? 2 : 1>,
    MultiplyHalf<kBits, kDigits, kDigits == 1 ? 3 : 1>,
    MultiplyHalf<kBits, kDigits, kDigits == 1 ? 4 : 1>};

template <size_t kDigits>
HalfFunction* const* FunctionsFor(int bits) {
  if (bits == 2) return kByTokens<2, kDigits>;
  if (bits == 3) return kByTokens<3, kDigits>;
  return bits == 4 ? kByTokens<4, kDigits> : kByTokens<8, kDigits>;
}

// One panel for tokens [first, end), which begin a block.
void MultiplyTokens(const Qgemm& gemm, HalfFunction* const* functions, size_t p, size_t first,
                    size_t end) {
  const QgemmWeights& w = gemm.weights;
  const QgemmInputs& x = gemm.inputs;
  const size_t most = kMostRows / x.digits;
  const size_t row_bytes = w.groups * w.steps * w.step;
  const size_t outputs = Smaller(kPanelRows, w.rows - p * kPanelRows);
  for (size_t token = first; token < end;) {
    const size_t row = token * x.digits;
    const RowBlock block = BlockOf(x, row);
    const size_t count = Smaller(most, (block.first + block.height) / x.digits - token);
    const Rows rows = {x.values + block.first * row_bytes + (row - block.first) * w.step,
                       block.height, row};
    for (size_t h = 0; 8 * h < outputs; ++h) {
      float y[8 * kMostRows];
      functions[count](gemm, w.panels + p * w.panel_bytes, rows, h, y);
      for (size_t t = 0; t < count; ++t) {
        __builtin_memcpy(gemm.y + (token + t) * gemm.y_stride + p * kPanelRows + 8 * h, y + 8 * t,
                         Smaller(8, outputs - 8 * h) * sizeof(float));
      }
    }
    token += count;
  }
}

void MultiplyOp(const Qgemm& gemm, size_t first, size_t end, uint8_t*) {
  const QgemmWeights& w = gemm.weights;
  const QgemmInputs& x = gemm.inputs;
  HalfFunction* const* functions =
      x.digits == 1 ? FunctionsFor<1>(w.bits) : FunctionsFor<kMaxDigits>(w.bits);
  const size_t block_tokens = BlockRows(x.digits) / x.digits;
  const size_t block_bytes = BlockRows(x.digits) * w.groups * w.steps * w.step;
  const size_t blocks = kInputBytes / block_bytes;
  const size_t tokens = (blocks == 0 ? 1 : blocks) * block_tokens;
  for (size_t token = 0; token < x.tokens; token += tokens) {
    for (size_t p = first; p < end; ++p)
      MultiplyTokens(gemm, functions, p, token, Smaller(token + tokens, x.tokens));
  }
}

size_t ScratchBytesOp(const Qgemm&) { return 0; }

}  // namespace

const QgemmOps kAvx2Qgemm = {"avx2", PackToken<PlainPacker>, MultiplyOp, ScratchBytesOp};

}  // namespace quantref
