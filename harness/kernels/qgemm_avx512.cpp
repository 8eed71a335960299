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
    _mm_prefetch(at + w.scales_at + group * kPanelRows * ScaleBytes(w), _MM_HINT_T0);
    _mm_prefetch(at + w.zeros_at + group * kPanelRows, _MM_HINT_T0);
  }
}

// Adds the products of one group: sums[p][v] += row v times the codes of panel p.
template <int kCodes, size_t kRows, size_t kPanels>
inline void AddGroup(Streams<kPanels>& streams, const int8_t* values, size_t height, size_t step,
                     size_t steps, __m512i look_up, __m512i sums[kPanels][kRows]) {
  constexpr int kBits = BitsOf(kCodes);
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
          w[p] = CodesOf<kCodes>(streams.panels[p] + streams.at, r, look_up);
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
template <int kCodes, size_t kDigits, size_t kTokens, size_t kPanels>
void MultiplyPanels(const Qgemm& gemm, size_t panel, const Rows& rows, size_t token) {
  constexpr size_t kRows = kDigits * kTokens;
  const QgemmWeights& w = gemm.weights;
  const __m512i look_up = kCodes == kLookedCodes ? LookUpOf(w) : _mm512_setzero_si512();
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
    AddGroup<kCodes, kRows, kPanels>(streams, rows.values + g * w.steps * rows.height * w.step,
                                     rows.height, w.step, StepsOf(w, g), look_up, sums);
    const int32_t* pairs = rows.sums + g * all_rows;
    for (size_t p = 0; p < kPanels; ++p) {
      const __m512 scale = GroupScales(w, streams.panels[p], g);
      const __m512i zeros = GroupZeros(w, streams.panels[p], g);
      for (size_t t = 0; t < kTokens; ++t) {
        __m512 f = Combine<kDigits>(sums[p] + t * kDigits, zeros, pairs + t * kDigits);
        if (w.rests_at > 0) {
          const float total = gemm.inputs.totals[g * gemm.inputs.tokens + token + t];
          f = _mm512_fmadd_ps(GroupRests(w, streams.panels[p], g), _mm512_set1_ps(total), f);
        }
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
template <int kCodes, size_t kDigits, size_t kTokens>
constexpr PanelKernel MakeKernel() {
  constexpr size_t kRows = kDigits * kTokens;
  PanelKernel kernel = {nullptr, nullptr, MultiplyPanels<kCodes, kDigits, kTokens, 1>};
  if constexpr (kRows <= 4) kernel.six = MultiplyPanels<kCodes, kDigits, kTokens, 6>;
  if constexpr (kRows <= 8) kernel.three = MultiplyPanels<kCodes, kDigits, kTokens, 3>;
  return kernel;
}

constexpr size_t kMostTokens = 8;  // with one digit; with three, a block's five
template <int kCodes, size_t kDigits>
constexpr PanelKernel kByTokens[kMostTokens] = {
    MakeKernel<kCodes, kDigits, 1>(),
    MakeKernel<kCodes, kDigits, 2>(),
    MakeKernel<kCodes, kDigits, 3>(),
    MakeKernel<kCodes, kDigits, 4>(),
    MakeKernel<kCodes, kDigits, 5>(),
    MakeKernel<kCodes, kDigits, kDigits == 1 ? 6 : 5>(),
    MakeKernel<kCodes, kDigits, kDigits == 1 ? 7 : 5>(),
    MakeKernel<kCodes, kDigits, kDigits == 1 ? 8 : 5>()};

template <size_t kDigits>
const PanelKernel* KernelsFor(const QgemmWeights& w) {
  if (w.form == CodeForm::kLooked) return kByTokens<kLookedCodes, kDigits>;
  const int bits = w.bits;
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
  const Rows rows = {x.values + block.first * RowTerms(w) + (row - block.first) * w.step,
                     block.height, x.sums + row};
  size_t p = first;
  if (kernel.six != nullptr)
    for (; p + 6 <= end; p += 6) kernel.six(gemm, p, rows, token);
  if (kernel.three != nullptr)
    for (; p + 3 <= end; p += 3) kernel.three(gemm, p, rows, token);
  for (; p < end; ++p) kernel.one(gemm, p, rows, token);
}

// As PlainPacker, 64 activations at a time.
class VectorPacker {
 public:
  struct Sums {
    __m512i of_digit[kMaxDigits] = {};
    int32_t Of(size_t digit) const { return _mm512_reduce_add_epi32(of_digit[digit]); }
  };

  explicit VectorPacker(const TokenScale& scale)
      : tame_(scale.tame),
        scale_(_mm512_set1_ps(scale.scale)),
        inverse_(_mm512_set1_ps(1 / scale.scale)),
        limit_(_mm512_set1_ps(scale.limit)) {}

  void Pack(const PackedStep& step, Sums& sums) const {
    __m512i codes[kVectors], digits[kMaxDigits];
#pragma GCC unroll 4
    for (size_t v = 0; v < kVectors; ++v) codes[v] = Codes(step, 16 * v);
    if (step.digits == 1) {
      digits[0] = NarrowCodes(codes);
    } else {
      SplitCodes(codes, digits);
    }
    for (size_t d = 0; d < step.digits; ++d) {
      sums.of_digit[d] = _mm512_dpbusd_epi32(sums.of_digit[d], _mm512_set1_epi8(1), digits[d]);
      _mm512_mask_storeu_epi8(step.out + d * step.step, ~uint64_t{0} >> (64 - step.step),
                              digits[d]);
    }
  }

 private:
  static constexpr size_t kVectors = 4;
  static_assert(16 * kVectors == 2 * kBlockTerms);

  // x / scale as division rounds it, without dividing, which would take longer than all the rest.
  // The first correction by a remainder makes the quotient one of the two numbers next to the true
  // one; the second the nearest, because then the remainder is exact and the inverse is the nearest
  // to the true inverse (Markstein 1990).
  __m512 Quotients(__m512 x) const {
    __m512 q = _mm512_mul_ps(x, inverse_);
    q = _mm512_fmadd_ps(_mm512_fnmadd_ps(q, scale_, x), inverse_, q);
    return _mm512_fmadd_ps(_mm512_fnmadd_ps(q, scale_, x), inverse_, q);
  }

  // The codes of 16 activations from `first` on.
  __m512i Codes(const PackedStep& step, size_t first) const {
    const __mmask16 there = FirstOf(first < step.count ? step.count - first : 0);
    const __m512 x = _mm512_maskz_loadu_ps(there, step.x + first);
    const __m512 quotients = tame_ ? Quotients(x) : _mm512_maskz_div_ps(there, x, scale_);
    const __m512 least = _mm512_sub_ps(_mm512_setzero_ps(), limit_);
    return _mm512_cvtps_epi32(_mm512_min_ps(_mm512_max_ps(quotients, least), limit_));
  }

  // Words 4 l + v to 4 v + l: what packing and transposing within quarters leaves to be done.
  static __m512i InOrder(__m512i words) {
    const __m512i from = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    return _mm512_permutexvar_epi32(from, words);
  }

  // Codes of 8 bits as bytes.
  static __m512i NarrowCodes(const __m512i codes[kVectors]) {
    return InOrder(_mm512_packs_epi16(_mm512_packs_epi32(codes[0], codes[1]),
                                      _mm512_packs_epi32(codes[2], codes[3])));
  }

  // Codes of 24 bits as three digits each.
  static void SplitCodes(const __m512i codes[kVectors], __m512i digits[kMaxDigits]) {
    // In each quarter of a vector, byte d of its four codes as word d.
    const __m512i by_digit =
        _mm512_broadcast_i32x4(_mm_set_epi8(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0));
    __m512i words[kVectors];
#pragma GCC unroll 4
    for (size_t v = 0; v < kVectors; ++v) {
      const __m512i biased = _mm512_add_epi32(codes[v], _mm512_set1_epi32(BiasOf(kMaxDigits)));
      words[v] = _mm512_shuffle_epi8(biased, by_digit);
    }
    const __m512i low01 = _mm512_unpacklo_epi32(words[0], words[1]);
    const __m512i low23 = _mm512_unpacklo_epi32(words[2], words[3]);
    const __m512i high01 = _mm512_unpackhi_epi32(words[0], words[1]);
    const __m512i high23 = _mm512_unpackhi_epi32(words[2], words[3]);
    digits[0] = _mm512_unpacklo_epi64(low01, low23);
    digits[1] = _mm512_unpackhi_epi64(low01, low23);
    digits[2] = _mm512_unpacklo_epi64(high01, high23);
#pragma GCC unroll 3
    for (size_t d = 0; d < kMaxDigits; ++d)
      digits[d] = _mm512_xor_si512(InOrder(digits[d]), _mm512_set1_epi8(-128));
  }

  bool tame_;
  __m512 scale_, inverse_, limit_;
};

size_t ScratchBytesOp(const Qgemm&) { return 0; }

}  // namespace

void PackTokenByVectors(const float* x, const QgemmRounding& rounding, const QgemmWeights& weights,
                        const QgemmInputs& inputs, size_t token) {
  PackToken<VectorPacker>(x, rounding, weights, inputs, token);
}

void MultiplyVnni(const Qgemm& gemm, size_t first, size_t end) {
  const QgemmWeights& w = gemm.weights;
  const QgemmInputs& x = gemm.inputs;
  const PanelKernel* kernels = x.digits == 1 ? KernelsFor<1>(w) : KernelsFor<kMaxDigits>(w);
  const size_t block_tokens = BlockRows(x.digits) / x.digits;
  const size_t most = x.digits == 1 ? kMostTokens : block_tokens;
  const size_t block_bytes = BlockRows(x.digits) * RowTerms(w);
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
