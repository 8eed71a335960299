#include "harness/kernels/qgemm_avx2.h"

#include <immintrin.h>

#include "harness/kernels/qgemm_rows.h"

// Codes of 4 bits and fewer meet activations as bytes: sums of a pair's products fit 16 bits, and
// so do a block's, of looked-up codes half a block's. Products of 8-bit codes need 32: they meet
// activations as 16-bit numbers, which are made of the bytes once for all panels.

namespace quantref {
namespace {

constexpr size_t kRowBytes = 64;         // of a block's unpacked codes
constexpr size_t kHalf = 32;             // bytes of a vector: 8 outputs
constexpr size_t kMostRows = 4;          // of activations in one go
constexpr size_t kMostPanels = 4;        // in one go
constexpr size_t kInputBytes = 1 << 18;  // of activations that stay in the L2 cache
constexpr size_t kAhead = 4096;          // bytes that are asked for before they are needed
constexpr size_t kGroupsAhead = 8;

// Panels side by side for so many rows: as many sums as fit the registers. One row reads four
// streams of memory in step, which one thread gets faster than one.
constexpr size_t kPanelsFor[kMostRows + 1] = {0, 4, 2, 1, 1};

// Without it GCC adds in trees, whose leaves do not fit the registers: half as fast.
inline void KeepInRegister(__m256i& v) { asm("" : "+x"(v)); }

inline __m256i Load(const void* at) { return _mm256_load_si256(static_cast<const __m256i*>(at)); }
inline __m256i Bytes(int value) { return _mm256_set1_epi8(static_cast<char>(value)); }

// Row r of the codes of 8 outputs, which begin at `half` of a block, a byte each.
template <int kCodes>
inline __m256i CodesOf(const uint8_t* half, size_t r, __m256i look_up) {
  constexpr int kBits = BitsOf(kCodes);
  const auto field = [&](size_t row, size_t shift, int mask) {
    const __m256i bytes = Load(half + row * kRowBytes);
    const __m256i low = shift == 0 ? bytes : _mm256_srli_epi16(bytes, static_cast<int>(shift));
    return _mm256_and_si256(low, Bytes(mask));
  };
  if constexpr (kCodes == kLookedCodes)
    return _mm256_shuffle_epi8(look_up, field(r / 2, 4 * (r % 2), 15));
  if constexpr (kBits == 4) return field(r / 2, 4 * (r % 2), 15);
  const __m256i low = field(r / 4, 2 * (r % 4), 3);
  if constexpr (kBits == 2) return low;
  const __m256i third = field(2, 0, 1 << r);  // 0 or 2^r, to become 0 or 4
  return _mm256_or_si256(low, r < 2 ? _mm256_slli_epi16(third, static_cast<int>(2 - r))
                                    : _mm256_min_epu8(third, Bytes(4)));
}

inline __m256i Broadcast(const void* four_bytes) {
  int32_t word;
  __builtin_memcpy(&word, four_bytes, sizeof(word));
  return _mm256_set1_epi32(word);
}

// Adds the products of rows [kFirst, kEnd) of a block to sums. Half h of the panels begins at
// halves[h], row v of the activations at values + v * step.
template <int kCodes, size_t kHalves, size_t kRows, size_t kFirst, size_t kEnd>
inline void AddRows(const uint8_t* const* halves, const uint8_t* values, size_t step,
                    __m256i look_up, __m256i* sums) {
  __m256i pairs[kHalves * kRows];
#pragma GCC unroll 8
  for (size_t r = kFirst; r < kEnd; ++r) {
    __m256i x[kRows];
#pragma GCC unroll 4
    for (size_t v = 0; v < kRows; ++v) x[v] = Broadcast(values + v * step + kDotTerms * r);
#pragma GCC unroll 8
    for (size_t h = 0; h < kHalves; ++h) {
      const __m256i w = CodesOf<kCodes>(halves[h], r, look_up);
#pragma GCC unroll 4
      for (size_t v = 0; v < kRows; ++v) {
        __m256i& sum = pairs[h * kRows + v];
        const __m256i products = _mm256_maddubs_epi16(w, x[v]);
        sum = r == kFirst ? products : _mm256_add_epi16(sum, products);
        KeepInRegister(sum);
      }
    }
  }
#pragma GCC unroll 8
  for (size_t i = 0; i < kHalves * kRows; ++i)
    sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(pairs[i], _mm256_set1_epi16(1)));
}

// A block's products.
template <int kCodes, size_t kHalves, size_t kRows>
inline void AddBlock(const uint8_t* const* halves, const uint8_t* values, size_t step,
                     __m256i look_up, __m256i* sums) {
  constexpr size_t kAll = kBlockTerms / kDotTerms;
  if constexpr (kCodes == kLookedCodes) {
    AddRows<kCodes, kHalves, kRows, 0, kAll / 2>(halves, values, step, look_up, sums);
    AddRows<kCodes, kHalves, kRows, kAll / 2, kAll>(halves, values, step, look_up, sums);
  } else {
    AddRows<kCodes, kHalves, kRows, 0, kAll>(halves, values, step, look_up, sums);
  }
}

// The same for 8-bit codes, with values as Widen makes them.
template <size_t kHalves, size_t kRows>
inline void AddWideBlock(const uint8_t* const* halves, const uint8_t* values, size_t step,
                         __m256i* sums) {
  __m256i kept[kHalves * kRows];
  for (size_t i = 0; i < kHalves * kRows; ++i) kept[i] = sums[i];
#pragma GCC unroll 8
  for (size_t r = 0; r < kBlockTerms / kDotTerms; ++r) {
#pragma GCC unroll 8
    for (size_t h = 0; h < kHalves; ++h) {
      const __m256i codes = Load(halves[h] + r * kRowBytes);
      const __m256i even = _mm256_and_si256(codes, _mm256_set1_epi16(255));
      const __m256i odd = _mm256_srli_epi16(codes, 8);
#pragma GCC unroll 4
      for (size_t v = 0; v < kRows; ++v) {
        const uint8_t* x = values + 2 * (v * step + kDotTerms * r);
        __m256i& sum = kept[h * kRows + v];
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(even, Broadcast(x)));
        KeepInRegister(sum);
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(odd, Broadcast(x + kDotTerms)));
        KeepInRegister(sum);
      }
    }
  }
  for (size_t i = 0; i < kHalves * kRows; ++i) sums[i] = kept[i];
}

// Bytes to 16-bit numbers; of each four, those that meet even bytes of codes come first.
void Widen(const int8_t* bytes, size_t count, uint8_t* wide) {
  const __m256i order = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15));
  for (size_t i = 0; i < count; i += 16) {
    const __m128i sixteen = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + i));
    _mm256_store_si256(reinterpret_cast<__m256i*>(wide + 2 * i),
                       _mm256_shuffle_epi8(_mm256_cvtepi8_epi16(sixteen), order));
  }
}
constexpr size_t ValueBytes(int bits) { return bits == 8 ? sizeof(int16_t) : sizeof(int8_t); }

// Panels side by side, and rows of activations of one block of them.
struct Tile {
  const uint8_t* panels;
  const uint8_t* values;  // of the first row
  size_t height;          // of the block
  size_t token;           // the first row's
};

// Asks for the block that follows by kAhead: in these panels, or past their end in the next.
template <int kBits, size_t kPanels>
inline void AskForBlock(const QgemmWeights& w, const uint8_t* panels, size_t at) {
  const size_t ahead = at + kAhead;
  panels += ahead + (ahead < w.panel_bytes ? 0 : (kPanels - 1) * w.panel_bytes);
#pragma GCC unroll 4
  for (size_t p = 0; p < kPanels; ++p, panels += w.panel_bytes) {
#pragma GCC unroll 8
    for (size_t line = 0; line < kBits; ++line) __builtin_prefetch(panels + line * kRowBytes);
  }
}

inline __m256i LookUpOf(const QgemmWeights& w) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w.look_up)));
}

// The sums over the codes of a group.
template <int kCodes, size_t kPanels, size_t kRows>
inline void SumGroup(const QgemmWeights& w, const Tile& tile, size_t g, __m256i* sums) {
  constexpr int kBits = BitsOf(kCodes);
  const __m256i look_up = kCodes == kLookedCodes ? LookUpOf(w) : _mm256_setzero_si256();
  constexpr size_t kHalves = 2 * kPanels, kBlockBytes = kRowBytes * kBits;
  const size_t group_terms = w.steps * w.step;
  const uint8_t* values = tile.values + g * group_terms * tile.height * ValueBytes(kBits);
  size_t in_panel = g * group_terms / kBlockTerms * kBlockBytes;
  for (size_t i = 0; i < kHalves * kRows; ++i) sums[i] = _mm256_setzero_si256();
  const size_t steps = StepsOf(w, g);
  for (size_t s = 0; s < steps; ++s, values += tile.height * w.step * ValueBytes(kBits)) {
    for (size_t at = 0; at < w.step; at += kBlockTerms, in_panel += kBlockBytes) {
      AskForBlock<kBits, kPanels>(w, tile.panels, in_panel);
      const uint8_t* halves[kHalves];
#pragma GCC unroll 8
      for (size_t h = 0; h < kHalves; ++h)
        halves[h] = tile.panels + h / 2 * w.panel_bytes + h % 2 * kHalf + in_panel;
      if constexpr (kBits == 8) {
        AddWideBlock<kHalves, kRows>(halves, values + 2 * at, w.step, sums);
      } else {
        AddBlock<kCodes, kHalves, kRows>(halves, values + at, w.step, look_up, sums);
      }
    }
  }
}

// Asks for the scales and zero points of a group to come: they lie apart from the codes.
template <size_t kPanels>
inline void AskForFactors(const QgemmWeights& w, const uint8_t* panels, size_t g) {
  const bool here = g < w.groups;  // else of the panels after these
  if (!here) panels += kPanels * w.panel_bytes;
  const size_t at = (here ? g : g - w.groups) * kPanelRows;
#pragma GCC unroll 4
  for (size_t p = 0; p < kPanels; ++p, panels += w.panel_bytes) {
    __builtin_prefetch(panels + w.scales_at + at * ScaleBytes(w));
    __builtin_prefetch(panels + w.zeros_at + at);
  }
}

inline __m256 ScalesOf(const QgemmWeights& w, const uint8_t* panel, size_t g, size_t h) {
  const uint8_t* at = panel + w.scales_at + (g * kPanelRows + 8 * h) * ScaleBytes(w);
  if (w.wide_scales) return _mm256_loadu_ps(reinterpret_cast<const float*>(at));
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

inline __m256 RestsOf(const QgemmWeights& w, const uint8_t* panel, size_t g, size_t h) {
  const uint8_t* at = panel + w.rests_at + (g * kPanelRows + 8 * h) * sizeof(float);
  return _mm256_loadu_ps(reinterpret_cast<const float*>(at));
}

// The outputs of kPanels panels for kTokens tokens, into y (kTokens, 16 kPanels).
template <int kCodes, size_t kDigits, size_t kPanels, size_t kTokens>
void MultiplyTile(const Qgemm& gemm, const Tile& tile, float* y) {
  constexpr size_t kHalves = 2 * kPanels, kRows = kDigits * kTokens;
  const QgemmWeights& w = gemm.weights;
  __m256 c[kHalves * kTokens];
  for (__m256& one : c) one = _mm256_setzero_ps();
  for (size_t g = 0; g < w.groups; ++g) {
    __m256i sums[kHalves * kRows];
    if (g + kGroupsAhead < 2 * w.groups) AskForFactors<kPanels>(w, tile.panels, g + kGroupsAhead);
    SumGroup<kCodes, kPanels, kRows>(w, tile, g, sums);
    const int32_t* pairs = gemm.inputs.sums + (g * gemm.inputs.tokens + tile.token) * kDigits;
#pragma GCC unroll 8
    for (size_t h = 0; h < kHalves; ++h) {
      const uint8_t* panel = tile.panels + h / 2 * w.panel_bytes;
      const __m256 scale = ScalesOf(w, panel, g, h % 2);
      const __m256i zeros = ZerosOf(w, panel, g, h % 2);
#pragma GCC unroll 4
      for (size_t t = 0; t < kTokens; ++t) {
        __m256 f = Combine<kDigits>(sums + h * kRows + t * kDigits, zeros, pairs + t * kDigits);
        if (w.rests_at > 0) {
          const float total = gemm.inputs.totals[g * gemm.inputs.tokens + tile.token + t];
          f = _mm256_fmadd_ps(RestsOf(w, panel, g, h % 2), _mm256_set1_ps(total), f);
        }
        c[h * kTokens + t] = _mm256_fmadd_ps(scale, f, c[h * kTokens + t]);
      }
    }
  }
  for (size_t t = 0; t < kTokens; ++t) {
    const __m256 unit = _mm256_set1_ps(gemm.inputs.scales[tile.token + t]);
    for (size_t h = 0; h < kHalves; ++h)
      _mm256_storeu_ps(y + 8 * (t * kHalves + h), _mm256_mul_ps(unit, c[h * kTokens + t]));
  }
}

// For kPanelsFor panels and for one, by the number of tokens.
using TileFunction = void(const Qgemm&, const Tile&, float*);
struct TileFunctions {
  TileFunction* several[kMostRows + 1];
  TileFunction* single[kMostRows + 1];
};
template <int kCodes>
constexpr TileFunctions kTiles = {
    {nullptr, MultiplyTile<kCodes, 1, kPanelsFor[1], 1>, MultiplyTile<kCodes, 1, kPanelsFor[2], 2>,
     MultiplyTile<kCodes, 1, kPanelsFor[3], 3>, MultiplyTile<kCodes, 1, kPanelsFor[4], 4>},
    {nullptr, MultiplyTile<kCodes, 1, 1, 1>, MultiplyTile<kCodes, 1, 1, 2>,
     MultiplyTile<kCodes, 1, 1, 3>, MultiplyTile<kCodes, 1, 1, 4>}};
template <int kCodes>
constexpr TileFunctions kDigitTiles = {
    {nullptr, MultiplyTile<kCodes, kMaxDigits, kPanelsFor[kMaxDigits], 1>},
    {nullptr, MultiplyTile<kCodes, kMaxDigits, 1, 1>}};

template <int kCodes>
const TileFunctions& TilesOf(size_t digits) {
  return digits == 1 ? kTiles<kCodes> : kDigitTiles<kCodes>;
}
const TileFunctions& TilesFor(const QgemmWeights& w, size_t digits) {
  if (w.form == CodeForm::kLooked) return TilesOf<kLookedCodes>(digits);
  const int bits = w.bits;
  if (bits == 2) return TilesOf<2>(digits);
  if (bits == 3) return TilesOf<3>(digits);
  return bits == 4 ? TilesOf<4>(digits) : TilesOf<8>(digits);
}

// Panels [first, end), for `tokens` tokens from tile.token.
void MultiplyPanels(const Qgemm& gemm, size_t first, size_t end, size_t tokens, Tile tile) {
  const QgemmWeights& w = gemm.weights;
  const TileFunctions& tiles = TilesFor(w, gemm.inputs.digits);
  const size_t most = kPanelsFor[tokens * gemm.inputs.digits];
  for (size_t p = first; p < end;) {
    const bool several = end - p >= most;
    const size_t panels = several ? most : 1, outputs = panels * kPanelRows;
    tile.panels = w.panels + p * w.panel_bytes;
    float y[kPanelRows * kMostRows];
    (several ? tiles.several : tiles.single)[tokens](gemm, tile, y);
    const size_t count = Smaller(outputs, w.rows - p * kPanelRows);
    for (size_t t = 0; t < tokens; ++t) {
      __builtin_memcpy(gemm.y + (tile.token + t) * gemm.y_stride + p * kPanelRows, y + t * outputs,
                       count * sizeof(float));
    }
    p += panels;
  }
}

// Rows of activations that stay near: whole blocks of them.
size_t StretchRows(const Qgemm& gemm) {
  const size_t block_rows = BlockRows(gemm.inputs.digits);
  const size_t blocks = kInputBytes / (block_rows * RowTerms(gemm.weights));
  return (blocks == 0 ? 1 : blocks) * block_rows;
}

// Panels [first, end) and rows [begin, stop) of activations, which begin a block, at `values`.
void MultiplyStretch(const Qgemm& gemm, size_t first, size_t end, size_t begin, size_t stop,
                     const uint8_t* values) {
  const QgemmWeights& w = gemm.weights;
  const size_t digits = gemm.inputs.digits, most = kMostRows / digits * digits;
  for (size_t p = first; p < end; p += kMostPanels) {
    for (size_t row = begin; row < stop;) {
      const RowBlock block = BlockOf(gemm.inputs, row);
      const size_t rows = Smaller(most, block.first + block.height - row);
      const size_t at = (block.first - begin) * RowTerms(w) + (row - block.first) * w.step;
      MultiplyPanels(gemm, p, Smaller(p + kMostPanels, end), rows / digits,
                     {nullptr, values + at * ValueBytes(w.bits), block.height, row / digits});
      row += rows;
    }
  }
}

void MultiplyOp(const Qgemm& gemm, size_t first, size_t end, uint8_t* scratch) {
  const size_t rows = gemm.inputs.tokens * gemm.inputs.digits, stretch = StretchRows(gemm);
  const size_t row_bytes = RowTerms(gemm.weights);
  for (size_t begin = 0; begin < rows; begin += stretch) {
    const size_t stop = Smaller(begin + stretch, rows);
    const int8_t* bytes = gemm.inputs.values + begin * row_bytes;
    const bool widen = gemm.weights.bits == 8;
    if (widen) Widen(bytes, (stop - begin) * row_bytes, scratch);
    MultiplyStretch(gemm, first, end, begin, stop,
                    widen ? scratch : reinterpret_cast<const uint8_t*>(bytes));
  }
}

size_t ScratchBytesOp(const Qgemm& gemm) {
  if (gemm.weights.bits != 8) return 0;
  const size_t rows = Smaller(StretchRows(gemm), gemm.inputs.tokens * gemm.inputs.digits);
  return rows * RowTerms(gemm.weights) * sizeof(int16_t);
}

}  // namespace

const QgemmOps kAvx2Qgemm = {"avx2", PackTokenAvx2, MultiplyOp, ScratchBytesOp};

}  // namespace quantref
