#include "harness/kernels/qgemm_avx512.h"

#include <immintrin.h>

#include "harness/kernels/qgemm_pack.inc"

namespace quantref {
namespace {

constexpr size_t kBlockRows = kBlockTerms / kDotTerms;
constexpr size_t kAhead = 4096;  // bytes that are asked for before they are needed
constexpr size_t kGroupsAhead = 4;
constexpr size_t kInputBytes = 1 << 19;  // of activations that stay in the L2 cache
constexpr size_t kPanelsAtATime = 6;     // of W, meanwhile

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

// Panels side by side, read in step: several streams at once is how memory gives most, and an
// activation is broadcast once for all of them.
template <size_t kPanels>
struct Streams {
  const uint8_t* panels[kPanels];
  size_t panel_bytes;
  size_t at;  // in each panel

  // Asks for the line that follows by kAhead: in these panels, or past their end in the next.
  void Ask(size_t line) const {
    const size_t ahead = at + kAhead;
    const size_t skipped = ahead < panel_bytes ? 0 : (kPanels - 1) * panel_bytes;
    const size_t offset = ahead + skipped + line * kRowBytes;
#pragma GCC unroll 6
    for (const uint8_t* panel : panels)
      _mm_prefetch(reinterpret_cast<const char*>(panel + offset), _MM_HINT_T0);
  }
};

// Asks for the scales and zero points of a group to come: they lie apart from the codes, and
// nothing else would bring them in time.
template <size_t kPanels>
inline void AskForFactors(const QgemmWeights& w, const Streams<kPanels>& streams, size_t g) {
  const size_t group = g < w.groups ? g : g - w.groups;  // of the panels after these
  const size_t skipped = g < w.groups ? 0 : kPanels * w.panel_bytes;
  for (const uint8_t* panel : streams.panels) {
    const auto* at = reinterpret_cast<const char*>(panel + skipped);
    _mm_prefetch(at + w.scales_at + group * kPanelRows * sizeof(uint16_t), _MM_HINT_T0);
    _mm_prefetch(at + w.zeros_at + group * kPanelRows, _MM_HINT_T0);
  }
}

// Adds the products of one group: sums[p][v] += row v times the codes of panel p.
template <int kBits, size_t kRows, size_t kPanels>
inline void AddGroup(Streams<kPanels>& streams, const int8_t* values, size_t height, size_t step,
                     size_t steps, __m512i sums[kPanels][kRows]) {
  for (size_t s = 0; s < steps; ++s, values += height * step) {
    for (size_t at = 0; at < step; at += kBlockTerms, streams.at += kRowBytes * kBits) {
#pragma GCC unroll 8
      for (size_t r = 0; r < kBlockRows; ++r) {
        // One line at a time: a whole block's requests would fill the buffers that loads wait for.
        const size_t line = r * kBits / kBlockRows;
        if (line < (r + 1) * kBits / kBlockRows) streams.Ask(line);
        __m512i w[kPanels];
#pragma GCC unroll 6
        for (size_t p = 0; p < kPanels; ++p)
          w[p] = CodesOf<kBits>(streams.panels[p] + streams.at, r);
#pragma GCC unroll 16
        for (size_t v = 0; v < kRows; ++v) {
          const __m512i x = Broadcast(values + v * step + at + kDotTerms * r);
#pragma GCC unroll 6
          for (size_t p = 0; p < kPanels; ++p)
            sums[p][v] = _mm512_dpbusd_epi32(sums[p][v], w[p], x);
        }
      }
    }
  }
}

// The outputs of kPanels panels from the given one on, for kTokens tokens.
template <int kBits, size_t kDigits, size_t kTokens, size_t kPanels>
void MultiplyPanels(const Qgemm& gemm, size_t panel, const Rows& rows, size_t token) {
  constexpr size_t kRows = kDigits * kTokens;
  const QgemmWeights& w = gemm.weights;
  const size_t all_rows = gemm.inputs.tokens * kDigits;
  Streams<kPanels> streams = {{}, w.panel_bytes, 0};
  for (size_t p = 0; p < kPanels; ++p) streams.panels[p] = w.panels + (panel + p) * w.panel_bytes;
  __m512 c[kPanels][kTokens];
  for (auto& of_panel : c)
    for (__m512& value : of_panel) value = _mm512_setzero_ps();
  for (size_t g = 0; g < w.groups; ++g) {
    __m512i sums[kPanels][kRows];
    for (auto& of_panel : sums)
      for (__m512i& sum : of_panel) sum = _mm512_setzero_si512();
    if (g + kGroupsAhead < 2 * w.groups) AskForFactors(w, streams, g + kGroupsAhead);
    AddGroup<kBits, kRows, kPanels>(streams, rows.values + g * w.steps * rows.height * w.step,
                                    rows.height, w.step, w.steps, sums);
    const int32_t* pairs = rows.sums + g * all_rows;
    for (size_t p = 0; p < kPanels; ++p) {
      const __m512 scale = GroupScales(w, streams.panels[p], g);
      const __m512i zeros = GroupZeros(w, streams.panels[p], g);
      for (size_t t = 0; t < kTokens; ++t) {
        const __m512 f = Combine<kDigits>(sums[p] + t * kDigits, zeros, pairs + t * kDigits);
        c[p][t] = _mm512_fmadd_ps(scale, f, c[p][t]);
      }
    }
  }
  for (size_t p = 0; p < kPanels; ++p) {
    const __mmask16 outputs = FirstOf(w.rows - (panel + p) * kPanelRows);
    float* y = gemm.y + token * gemm.y_stride + (panel + p) * kPanelRows;
    for (size_t t = 0; t < kTokens; ++t) {
      const __m512 scale = _mm512_set1_ps(gemm.inputs.scales[token + t]);
      _mm512_mask_storeu_ps(y + t * gemm.y_stride, outputs, _mm512_mul_ps(scale, c[p][t]));
    }
  }
}

using PanelFunction = void(const Qgemm&, size_t, const Rows&, size_t);

// Functions for as many panels at once as leave registers for the sums of all rows.
struct PanelKernel {
  PanelFunction* six;  // nullptr: the rows are too many
  PanelFunction* three;
  PanelFunction* one;
};
template <int kBits, size_t kDigits, size_t kTokens>
constexpr PanelKernel MakeKernel() {
  constexpr size_t kRows = kDigits * kTokens;
  PanelKernel kernel = {nullptr, nullptr, MultiplyPanels<kBits, kDigits, kTokens, 1>};
  if constexpr (kRows <= 4) kernel.six = MultiplyPanels<kBits, kDigits, kTokens, 6>;
  if constexpr (kRows <= 8) kernel.three = MultiplyPanels<kBits, kDigits, kTokens, 3>;
  return kernel;
}

constexpr size_t kMostTokens = 8;  // with one digit; with three, a block's five
template <int kBits, size_t kDigits>
constexpr PanelKernel kByTokens[kMostTokens] = {MakeKernel<kBits, kDigits, 1>(),
                                                MakeKernel<kBits, kDigits, 2>(),
                                                MakeKernel<kBits, kDigits, 3>(),
                                                MakeKernel<kBits, kDigits, 4>(),
                                                MakeKernel<kBits, kDigits, 5>(),
                                                MakeKernel<kBits, kDigits, kDigits == 1 ? 6 : 5>(),
                                                MakeKernel<kBits, kDigits, kDigits == 1 ? 7 : 5>(),
                                                MakeKernel<kBits, kDigits, kDigits == 1 ? 8 : 5>()};

template <size_t kDigits>
const PanelKernel* KernelsFor(int bits) {
  if (bits == 2) return kByTokens<2, kDigits>;
  if (bits == 3) return kByTokens<3, kDigits>;
  return bits == 4 ? kByTokens<4, kDigits> : kByTokens<8, kDigits>;
}

// Panels [first, end) for the kernel's tokens from the given one on.
void MultiplyTokens(const Qgemm& gemm, const PanelKernel& kernel, size_t first, size_t end,
                    size_t token) {
  const QgemmWeights& w = gemm.weights;
  const QgemmInputs& x = gemm.inputs;
  const size_t row = token * x.digits;
  const RowBlock block = BlockOf(x, row);
  const Rows rows = {
      x.values + block.first * w.groups * w.steps * w.step + (row - block.first) * w.step,
      block.height, x.sums + row};
  size_t p = first;
  if (kernel.six != nullptr)
    for (; p + 6 <= end; p += 6) kernel.six(gemm, p, rows, token);
  if (kernel.three != nullptr)
    for (; p + 3 <= end; p += 3) kernel.three(gemm, p, rows, token);
  for (; p < end; ++p) kernel.one(gemm, p, rows, token);
}

// As PlainStep, sixteen activations at a time.
struct VectorStep {
  static void Pack(const PackedStep& step, int32_t sums[kMaxDigits]) {
    const __m512 scale = _mm512_set1_ps(step.scale), limit = _mm512_set1_ps(step.limit);
    const __m512 least = _mm512_set1_ps(-step.limit);
    for (size_t i = 0; i < step.step; i += 16) {
      const __mmask16 there = FirstOf(i < step.count ? step.count - i : 0);
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
  const PanelKernel* kernels =
      x.digits == 1 ? KernelsFor<1>(w.bits) : KernelsFor<kMaxDigits>(w.bits);
  const size_t block_tokens = BlockRows(x.digits) / x.digits;
  const size_t most = x.digits == 1 ? kMostTokens : block_tokens;
  const size_t block_bytes = BlockRows(x.digits) * w.groups * w.steps * w.step;
  const size_t stretch = Larger(1, kInputBytes / block_bytes) * block_tokens;
  // Where tokens are many, some panels stay in the cache while all tokens of a stretch pass.
  for (size_t begin = 0; begin < x.tokens; begin += stretch) {
    const size_t stop = Smaller(begin + stretch, x.tokens);
    const size_t panels = stop - begin <= most ? end - first : kPanelsAtATime;
    for (size_t p = first; p < end; p += panels) {
      for (size_t token = begin; token < stop;) {
        const RowBlock block = BlockOf(x, token * x.digits);
        const size_t in_block = (block.first + block.height) / x.digits - token;
        const size_t count = Smaller(most, in_block);
        MultiplyTokens(gemm, kernels[count - 1], p, Smaller(p + panels, end), token);
        token += count;
      }
    }
  }
}

namespace {

void MultiplyOp(const Qgemm& gemm, size_t first, size_t end, uint8_t*) {
  MultiplyVnni(gemm, first, end);
}
}  // namespace

const QgemmOps kAvx512Qgemm = {"avx512", PackTokenByVectors, MultiplyOp, ScratchBytesOp};

}  // namespace quantref
