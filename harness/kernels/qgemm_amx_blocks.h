#pragma once

#include "harness/kernels/amx_tiles.h"
#include "harness/kernels/qgemm_avx512.h"
#include "harness/kernels/qgemm_rows.h"

// The inner parts of the AMX kernel: one or two blocks of rows of activations against two panels of
// W. Only qgemm_amx.cpp includes this.

namespace quantref {
namespace {

constexpr size_t kTileWords = 256;  // of 32 bits

// Tiles 0..3: sums of (block 0, panel 0), (0, 1), (1, 0), (1, 1); 4, 5: activations of blocks 0, 1;
// 6, 7: codes of panels 0, 1.
void ConfigureTiles(size_t height0, size_t height1, size_t step) {
  TileShapes shapes;
  for (int p = 0; p < 2; ++p) {
    SetTile(shapes, p, height0, kTileRowBytes);
    SetTile(shapes, 2 + p, height1, kTileRowBytes);
    SetTile(shapes, 6 + p, step / kDotTerms, kTileRowBytes);
  }
  SetTile(shapes, 4, height0, step);
  SetTile(shapes, 5, height1, step);
  UseTiles(shapes);
}

// How the codes of a stretch lie in memory: as they are (8 bits), so that every token's sums are
// corrected for the zero points; or unpacked as code - zero, which is between -15 and 15 for 4 bits
// and fewer, so that no token's are.
enum class Codes { kPlain, kCentred };

// Tile c += the digits in tile a times the codes in tile b.
#define QUANTREF_DOT(c, a, b)                \
  if constexpr (kCodes == Codes::kCentred) { \
    _tile_dpbssd(c, a, b);                   \
  } else {                                   \
    _tile_dpbsud(c, a, b);                   \
  }

// A stretch of whole groups of W, for two panels (the second may be missing: no outputs).
struct Stretch {
  const uint8_t* panels[2];
  const uint8_t* codes[2];  // unpacked, of the stretch's first group
  __mmask16 outputs[2];
  size_t first, end;  // groups
};

// Asks for the packed codes of the next two panels, a few lines at each step of these: from memory
// they come too late when they are read.
class Prefetch {
 public:
  Prefetch(const uint8_t* const panels[2], size_t bytes, size_t steps)
      : panels_{panels[0], panels[1]}, bytes_(bytes), lines_((bytes / 64 + steps - 1) / steps) {}

  void Step() {
    for (size_t i = 0; i < lines_ && at_ < bytes_; ++i, at_ += 64) {
      _mm_prefetch(reinterpret_cast<const char*>(panels_[0] + at_), _MM_HINT_T1);
      _mm_prefetch(reinterpret_cast<const char*>(panels_[1] + at_), _MM_HINT_T1);
    }
  }

 private:
  const uint8_t* panels_[2];
  size_t bytes_, lines_, at_ = 0;
};

// sums = the products of a group's codes with the rows of the blocks, tile by tile.
template <size_t kBlocks, Codes kCodes>
void MultiplyGroup(const int8_t* const values[2], const size_t heights[2], const uint8_t* code0,
                   const uint8_t* code1, size_t step, size_t steps, int32_t* sums) {
  _tile_zero(0);
  _tile_zero(1);
  if constexpr (kBlocks == 2) {
    _tile_zero(2);
    _tile_zero(3);
  }
  const int8_t* x0 = values[0];
  const int8_t* x1 = values[1];
  const size_t stride0 = heights[0] * step, stride1 = heights[1] * step;
  for (size_t s = 0; s < steps; ++s) {
    _tile_loadd(6, code0, kRowBytes);
    _tile_loadd(7, code1, kRowBytes);
    _tile_loadd(4, x0, step);
    QUANTREF_DOT(0, 4, 6)
    QUANTREF_DOT(1, 4, 7)
    if constexpr (kBlocks == 2) {
      _tile_loadd(5, x1, step);
      QUANTREF_DOT(2, 5, 6)
      QUANTREF_DOT(3, 5, 7)
      x1 += stride1;
    }
    x0 += stride0;
    code0 += step * kPanelRows;
    code1 += step * kPanelRows;
  }
  _tile_stored(0, sums, kRowBytes);
  _tile_stored(1, sums + kTileWords, kRowBytes);
  if constexpr (kBlocks == 2) {
    _tile_stored(2, sums + 2 * kTileWords, kRowBytes);
    _tile_stored(3, sums + 3 * kTileWords, kRowBytes);
  }
}

// Where the products of a pair of blocks and a pair of panels come together; small enough for the
// L1 cache, where rows of y, far apart, would displace each other.
struct Corner {
  int32_t sums[2][4 * kTileWords];               // of one group while those of the next are made
  float outputs[kTileRows * 2][2 * kPanelRows];  // c of each token
};

// The scales and zero points of a group for the two panels, and its sums of activations.
template <size_t kDigits, Codes kCodes>
struct GroupFactors {
  GroupFactors(const Qgemm& gemm, const Stretch& stretch, size_t g, size_t row)
      : with_rests(gemm.weights.rests_at > 0),
        pairs(gemm.inputs.sums + g * gemm.inputs.tokens * kDigits + row),
        totals(gemm.inputs.totals + g * gemm.inputs.tokens + row / kDigits) {
    for (size_t p = 0; p < 2; ++p) {
      scales[p] = GroupScales(gemm.weights, stretch.panels[p], g);
      if constexpr (kCodes == Codes::kPlain)
        zeros[p] = GroupZeros(gemm.weights, stretch.panels[p], g);
      if (with_rests) rests[p] = GroupRests(gemm.weights, stretch.panels[p], g);
    }
  }
  __m512 scales[2];
  __m512i zeros[2];
  bool with_rests;
  __m512 rests[2];
  const int32_t* pairs;
  const float* totals;
};

// c += scale times a group's sums, for one token (of those that the factors begin with) and one
// panel. `row` is the token's first in a tile, sums that tile.
template <size_t kDigits, Codes kCodes>
inline void Rescale(const GroupFactors<kDigits, kCodes>& factors, size_t p, const int32_t* sums,
                    size_t row, size_t token, float* outputs) {
  __m512i digits[kDigits];
#pragma GCC unroll 3
  for (size_t d = 0; d < kDigits; ++d) digits[d] = _mm512_load_si512(sums + 16 * (row + d));
  __m512 f;
  if constexpr (kCodes == Codes::kCentred) {
    f = Combine<kDigits>(digits);
  } else {
    f = Combine<kDigits>(digits, factors.zeros[p], factors.pairs + token * kDigits);
  }
  if (factors.with_rests)
    f = _mm512_fmadd_ps(factors.rests[p], _mm512_set1_ps(factors.totals[token]), f);
  _mm512_store_ps(outputs, _mm512_fmadd_ps(factors.scales[p], f, _mm512_load_ps(outputs)));
}

// Takes a block's c from y, where groups before the stretch left it, or 0.
void Begin(const Qgemm& gemm, const Stretch& stretch, size_t token, size_t tokens, const float* y,
           float (*outputs)[2 * kPanelRows]) {
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t p = 0; p < 2; ++p) {
      const __mmask16 there = static_cast<__mmask16>(stretch.first == 0 ? 0 : stretch.outputs[p]);
      _mm512_store_ps(
          outputs[t] + p * kPanelRows,
          _mm512_maskz_loadu_ps(there, y + (token + t) * gemm.y_stride + p * kPanelRows));
    }
  }
}

// Puts it there; after the last group it is multiplied by the tokens' scales.
void End(const Qgemm& gemm, const Stretch& stretch, size_t token, size_t tokens, float* y,
         const float (*outputs)[2 * kPanelRows]) {
  const bool last = stretch.end == gemm.weights.groups;
  for (size_t t = 0; t < tokens; ++t) {
    const __m512 scale = _mm512_set1_ps(last ? gemm.inputs.scales[token + t] : 1.0f);
    for (size_t p = 0; p < 2; ++p) {
      const __m512 c = _mm512_load_ps(outputs[t] + p * kPanelRows);
      _mm512_mask_storeu_ps(y + (token + t) * gemm.y_stride + p * kPanelRows, stretch.outputs[p],
                            _mm512_mul_ps(scale, c));
    }
  }
}

// One or two blocks of rows of any height against a stretch of two panels.
template <size_t kBlocks, size_t kDigits, Codes kCodes>
void MultiplyBlocks(const Qgemm& gemm, const Stretch& stretch, const RowBlock blocks[2],
                    Corner& corner) {
  const QgemmWeights& w = gemm.weights;
  const size_t filled = w.steps * w.step, row_bytes = RowTerms(w);
  const size_t heights[2] = {blocks[0].height, blocks[1].height};
  for (size_t g = stretch.first; g < stretch.end; ++g) {
    const int8_t* values[2];
    for (size_t b = 0; b < 2; ++b)
      values[b] = gemm.inputs.values + blocks[b].first * row_bytes + g * filled * heights[b];
    const size_t at = (g - stretch.first) * filled * kPanelRows;
    MultiplyGroup<kBlocks, kCodes>(values, heights, stretch.codes[0] + at, stretch.codes[1] + at,
                                   w.step, StepsOf(w, g), corner.sums[0]);
    const GroupFactors<kDigits, kCodes> factors(gemm, stretch, g, blocks[0].first);
    for (size_t b = 0; b < kBlocks; ++b) {
      for (size_t row = 0; row < heights[b]; row += kDigits) {
        const size_t all = b * heights[0] + row;
        for (size_t p = 0; p < 2; ++p) {
          Rescale<kDigits, kCodes>(factors, p, corner.sums[0] + (2 * b + p) * kTileWords, row,
                                   all / kDigits, corner.outputs[all / kDigits] + p * kPanelRows);
        }
      }
    }
  }
}

// Two full blocks of rows, in a pipeline: while the tiles multiply group g, the vector units store
// the sums of group g - 1 and rescale those of g - 2, a part after each tile instruction, so that
// both are near enough in the program to run at the same time.
template <size_t kDigits, Codes kCodes>
class Pipeline {
 public:
  Pipeline(const Qgemm& gemm, const Stretch& stretch, const RowBlock blocks[2], Corner& corner,
           Prefetch& prefetch)
      : gemm_(gemm),
        stretch_(stretch),
        row_(blocks[0].first),
        corner_(corner),
        prefetch_(prefetch) {
    const QgemmWeights& w = gemm.weights;
    const size_t filled = w.steps * w.step, row_bytes = RowTerms(w);
    for (size_t b = 0; b < 2; ++b) {
      values_[b] =
          gemm.inputs.values + blocks[b].first * row_bytes + stretch.first * filled * kHeight;
      codes_[b] = stretch.codes[b];
    }
  }

  void Run() {
    for (size_t g = stretch_.first; g < stretch_.end; ++g) {
      if (g == stretch_.first) {
        Group<false, false, 1>(g);
      } else if (g == stretch_.first + 1) {
        Group<true, false, 1>(g);
      } else if (StepsOf(gemm_.weights, g) == 1) {
        Group<true, true, 1>(g);
      } else {
        Group<true, true, 2>(g);
      }
    }
    const size_t last = stretch_.end - 1;
    if (last > stretch_.first) RescaleAll(last - 1);
    int32_t* sums = corner_.sums[last % 2];
    _tile_stored(0, sums, kRowBytes);
    _tile_stored(1, sums + kTileWords, kRowBytes);
    _tile_stored(2, sums + 2 * kTileWords, kRowBytes);
    _tile_stored(3, sums + 3 * kTileWords, kRowBytes);
    RescaleAll(last);
  }

 private:
  static constexpr size_t kHeight = kTileRows / kDigits * kDigits;
  static constexpr size_t kTokens = kHeight / kDigits;
  static constexpr size_t kItems = 4 * kTokens;  // a token of a block and a panel

  // A part of rescaling a group, unrolled.
  template <size_t kParts, size_t kPart>
  __attribute__((always_inline)) void RescalePart(const GroupFactors<kDigits, kCodes>& factors,
                                                  const int32_t* sums) {
#pragma GCC unroll 64
    for (size_t i = kPart * kItems / kParts; i < (kPart + 1) * kItems / kParts; ++i) {
      const size_t token = i / 2, p = i % 2, b = token / kTokens;
      Rescale<kDigits, kCodes>(factors, p, sums + (2 * b + p) * kTileWords,
                               token % kTokens * kDigits, token,
                               corner_.outputs[token] + p * kPanelRows);
    }
  }
  void RescaleAll(size_t g) {
    const GroupFactors<kDigits, kCodes> factors(gemm_, stretch_, g, row_);
    RescalePart<1, 0>(factors, corner_.sums[g % 2]);
  }

#define QUANTREF_BEGIN_SUM(tile)                                                   \
  if constexpr (kFirst) {                                                          \
    if constexpr (kStore) _tile_stored(tile, sums + (tile)*kTileWords, kRowBytes); \
    _tile_zero(tile);                                                              \
  }
#define QUANTREF_RESCALE(part) \
  if constexpr (kParts > 0) RescalePart<kParts, kFirstPart + (part)>(*factors, rescaled);

  // One step of a group: kFirst, its first; kParts > 0: with four of so many parts of rescaling.
  template <bool kFirst, bool kStore, size_t kParts, size_t kFirstPart>
  __attribute__((always_inline)) void Step(int32_t* sums,
                                           const GroupFactors<kDigits, kCodes>* factors,
                                           const int32_t* rescaled) {
    const size_t step = gemm_.weights.step;
    prefetch_.Step();
    _tile_loadd(6, codes_[0], kRowBytes);
    _tile_loadd(4, values_[0], step);
    QUANTREF_BEGIN_SUM(0)
    QUANTREF_DOT(0, 4, 6)
    QUANTREF_RESCALE(0)
    _tile_loadd(7, codes_[1], kRowBytes);
    QUANTREF_BEGIN_SUM(1)
    QUANTREF_DOT(1, 4, 7)
    QUANTREF_RESCALE(1)
    _tile_loadd(5, values_[1], step);
    QUANTREF_BEGIN_SUM(2)
    QUANTREF_DOT(2, 5, 6)
    QUANTREF_RESCALE(2)
    QUANTREF_BEGIN_SUM(3)
    QUANTREF_DOT(3, 5, 7)
    QUANTREF_RESCALE(3)
    for (size_t i = 0; i < 2; ++i) {
      values_[i] += kHeight * step;
      codes_[i] += kPanelRows * step;
    }
  }
#undef QUANTREF_BEGIN_SUM
#undef QUANTREF_RESCALE
#undef QUANTREF_DOT

  // kSpread: the number of steps that rescaling is spread over.
  template <bool kStore, bool kRescale, size_t kSpread>
  void Group(size_t g) {
    int32_t* sums = corner_.sums[(g + 1) % 2];      // of g - 1
    const int32_t* rescaled = corner_.sums[g % 2];  // of g - 2
    size_t s = kSpread;
    if constexpr (kRescale) {
      const GroupFactors<kDigits, kCodes> factors(gemm_, stretch_, g - 2, row_);
      Step<true, kStore, 4 * kSpread, 0>(sums, &factors, rescaled);
      if constexpr (kSpread == 2) Step<false, kStore, 4 * kSpread, 4>(sums, &factors, rescaled);
    } else {
      Step<true, kStore, 0, 0>(sums, nullptr, nullptr);
    }
    for (const size_t steps = StepsOf(gemm_.weights, g); s < steps; ++s)
      Step<false, kStore, 0, 0>(sums, nullptr, nullptr);
  }

  const Qgemm& gemm_;
  const Stretch& stretch_;
  const size_t row_;
  Corner& corner_;
  Prefetch& prefetch_;
  const int8_t* values_[2];
  const uint8_t* codes_[2];
};

}  // namespace
}  // namespace quantref
