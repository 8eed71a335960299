#include "harness/kernels/qgemm_avx512.h"

#include <immintrin.h>

#include "harness/kernels/qgemm_pack.inc"

namespace quantref {
namespace {

constexpr size_t kAhead = 8192;          // bytes that are asked for before they are needed
constexpr size_t kInputBytes = 1 << 19;  // of activations that stay in the L2 cache

inline __m512i Broadcast(const int8_t* four) {
  int32_t word;
  __builtin_memcpy(&word, four, sizeof(word));
  return _mm512_set1_epi32(word);
}

// A few rows of activations, in one block of them, and where they lie.
struct Rows {
  const int8_t* values;  // of the first row, the first step
  size_t height;         // of the block
  const int32_t* sums;   // of the first row, the first group
};

// Adds the products of one group: sums[v] += row v times codes. Two sums a row where rows are few,
// so that additions need not wait for each other.
template <int kBits, size_t kRows>
inline void AddGroup(const uint8_t* codes, const int8_t* values, size_t height, size_t step,
                     size_t steps, __m512i sums[kRows]) {
  constexpr size_t kChains = kRows <= 4 ? 2 : 1;
  __m512i chains[kChains][kRows];
  for (size_t c = 0; c < kChains; ++c)
    for (size_t v = 0; v < kRows; ++v) chains[c][v] = _mm512_setzero_si512();
  for (size_t s = 0; s < steps; ++s, values += height * step) {
    for (size_t at = 0; at < step; at += kBlockTerms, codes += kRowBytes * kBits) {
#pragma GCC unroll 8
      for (size_t line = 0; line < kBits; ++line)
        _mm_prefetch(reinterpret_cast<const char*>(codes + kAhead + line * kRowBytes), _MM_HINT_T0);
#pragma GCC unroll 8
      for (size_t r = 0; r < kBlockTerms / kDotTerms; ++r) {
        const __m512i w = CodesOf<kBits>(codes, r);
#pragma GCC unroll 16
        for (size_t v = 0; v < kRows; ++v) {
          chains[r % kChains][v] = _mm512_dpbusd_epi32(
              chains[r % kChains][v], w, Broadcast(values + v * step + at + kDotTerms * r));
        }
      }
    }
  }
  for (size_t v = 0; v < kRows; ++v) {
    sums[v] = chains[0][v];
    if constexpr (kChains == 2) sums[v] = _mm512_add_epi32(sums[v], chains[1][v]);
  }
}

// The outputs of one panel for kTokens tokens.
template <int kBits, size_t kDigits, size_t kTokens>
void MultiplyPanel(const Qgemm& gemm, const uint8_t* panel, const Rows& rows, size_t token,
                   float* y, __mmask16 outputs) {
  constexpr size_t kRows = kDigits * kTokens;
  const QgemmWeights& w = gemm.weights;
  const size_t group_bytes = w.steps * w.step / kBlockTerms * kRowBytes * kBits;
  const size_t all_rows = gemm.inputs.tokens * kDigits;
  __m512 c[kTokens];
  for (size_t t = 0; t < kTokens; ++t) c[t] = _mm512_setzero_ps();
  for (size_t g = 0; g < w.groups; ++g) {
    __m512i sums[kRows];
    AddGroup<kBits, kRows>(panel + g * group_bytes,
                           rows.values + g * w.steps * rows.height * w.step, rows.height, w.step,
                           w.steps, sums);
    const __m512 scale = GroupScales(w, panel, g);
    const __m512i zeros = GroupZeros(w, panel, g);
    for (size_t t = 0; t < kTokens; ++t)
      c[t] = _mm512_fmadd_ps(
          scale,
          Combine<kDigits>(sums + t * kDigits, zeros, rows.sums + g * all_rows + t * kDigits),
          c[t]);
  }
  for (size_t t = 0; t < kTokens; ++t) {
    const __m512 scale = _mm512_set1_ps(gemm.inputs.scales[token + t]);
    _mm512_mask_storeu_ps(y + t * gemm.y_stride, outputs, _mm512_mul_ps(scale, c[t]));
  }
}

using PanelFunction = void(const Qgemm&, const uint8_t*, const Rows&, size_t, float*, __mmask16);

constexpr size_t kMostTokens = 8;  // with one digit; with three, a block's five
template <int kBits, size_t kDigits>
constexpr PanelFunction* kByTokens[kMostTokens + 1] = {
    nullptr,
    MultiplyPanel<kBits, kDigits, 1>,
    MultiplyPanel<kBits, kDigits, 2>,
    MultiplyPanel<kBits, kDigits, 3>,
    MultiplyPanel<kBits, kDigits, 4>,
    MultiplyPanel<kBits, kDigits, 5>,
    MultiplyPanel<kBits, kDigits, kDigits == 1 ? 6 : 5>,
    MultiplyPanel<kBits, kDigits, kDigits == 1 ? 7 : 5>,
    MultiplyPanel<kBits, kDigits, kDigits == 1 ? 8 : 5>};

template <size_t kDigits>
PanelFunction* const* FunctionsFor(int bits) {
  if (bits == 2) return kByTokens<2, kDigits>;
  if (bits == 3) return kByTokens<3, kDigits>;
  return bits == 4 ? kByTokens<4, kDigits> : kByTokens<8, kDigits>;
}

// One panel for tokens [first, end), which begin a block.
void MultiplyTokens(const Qgemm& gemm, PanelFunction* const* functions, size_t p, size_t first,
                    size_t end) {
  const QgemmWeights& w = gemm.weights;
  const QgemmInputs& x = gemm.inputs;
  const size_t most = x.digits == 1 ? kMostTokens : BlockRows(x.digits) / x.digits;
  const __mmask16 outputs = FirstOf(w.rows - p * kPanelRows);
  const size_t row_bytes = w.groups * w.steps * w.step;
  for (size_t token = first; token < end;) {
    const size_t row = token * x.digits;
    const RowBlock block = BlockOf(x, row);
    const size_t in_block = (block.first + block.height) / x.digits - token;
    const size_t count = Smaller(most, in_block);
    const Rows rows = {x.values + block.first * row_bytes + (row - block.first) * w.step,
                       block.height, x.sums + row};
    functions[count](gemm, w.panels + p * w.panel_bytes, rows, token,
                     gemm.y + token * gemm.y_stride + p * kPanelRows, outputs);
    token += count;
  }
}

// As PlainStep, sixteen activations at a time.
struct VectorStep {
  static void Pack(const PackedStep& step, int32_t sums[kMaxDigits]) {
    const __m512 scale = _mm512_set1_ps(step.scale), limit = _mm512_set1_ps(step.limit);
    const __m512 least = _mm512_set1_ps(-step.limit);
    for (size_t i = 0; i < step.step; i += 16) {
      const __mmask16 there = i < step.count ? FirstOf(step.count - i) : 0;
      const __m512 x = _mm512_maskz_loadu_ps(there, step.x + i);
      const __m512 quotient = _mm512_maskz_div_ps(there, x, scale);
      const __m512 cut = _mm512_min_ps(_mm512_max_ps(quotient, least), limit);
      const __m512i code =
          _mm512_add_epi32(_mm512_cvtps_epi32(cut), _mm512_set1_epi32(BiasOf(step.digits)));
      for (size_t d = 0; d < step.digits; ++d) {
        const __m128i digits =
            _mm512_cvtepi32_epi8(_mm512_srli_epi32(code, static_cast<unsigned>(8 * d)));
        const __m128i halves = _mm_sad_epu8(digits, _mm_setzero_si128());
        sums[d] += _mm_cvtsi128_si32(halves) + _mm_extract_epi16(halves, 4) - 16 * 128;
        _mm_storeu_si128(reinterpret_cast<__m128i*>(step.out + d * step.step + i),
                         _mm_xor_si128(digits, _mm_set1_epi8(-128)));
      }
    }
  }
};

size_t ScratchBytesOp(const Qgemm&) { return 0; }

}  // namespace

void PackTokenByVectors(const float* x, const QgemmRounding& rounding, const QgemmWeights& weights,
                        const QgemmInputs& inputs, size_t token) {
  PackToken<VectorStep>(x, rounding, weights, inputs, token);
}

void MultiplyVnni(const Qgemm& gemm, size_t first, size_t end) {
  const QgemmWeights& w = gemm.weights;
  const QgemmInputs& x = gemm.inputs;
  PanelFunction* const* functions =
      x.digits == 1 ? FunctionsFor<1>(w.bits) : FunctionsFor<kMaxDigits>(w.bits);
  const size_t block_tokens = BlockRows(x.digits) / x.digits;
  const size_t block_bytes = BlockRows(x.digits) * w.groups * w.steps * w.step;
  const size_t tokens = Larger(1, kInputBytes / block_bytes) * block_tokens;
  for (size_t token = 0; token < x.tokens; token += tokens) {
    for (size_t p = first; p < end; ++p)
      MultiplyTokens(gemm, functions, p, token, Smaller(token + tokens, x.tokens));
  }
}

namespace {

void MultiplyOp(const Qgemm& gemm, size_t first, size_t end, uint8_t*) {
  MultiplyVnni(gemm, first, end);
}
}  // namespace

const QgemmOps kAvx512Qgemm = {"avx512", PackTokenByVectors, MultiplyOp, ScratchBytesOp};

}  // namespace quantref
