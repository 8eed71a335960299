#include <immintrin.h>

#include "harness/kernels/qgemm_avx512.h"
#include "harness/kernels/qgemm_pack.inc"

namespace quantref {
namespace {

constexpr size_t kTileRows = 16;
constexpr size_t kTileWords = 256;       // of 32 bits
constexpr size_t kDepth = 2048;          // inputs of W that are unpacked at a time, in whole groups
constexpr size_t kInputBytes = 1 << 20;  // of activations that stay in the L2 cache meanwhile
constexpr size_t kVnniRows = 8;          // with so few rows of activations tiles are mostly empty

struct TileConfig {
  uint8_t palette, start_row;
  uint8_t reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};

// Tiles 0..3: sums of (block 0, panel 0), (0, 1), (1, 0), (1, 1); 4, 5: activations of blocks 0, 1;
// 6, 7: codes of panels 0, 1.
void ConfigureTiles(size_t height0, size_t height1, size_t step) {
  TileConfig config = {};
  config.palette = 1;
  const auto set = [&](int tile, size_t rows, size_t bytes) {
    config.rows[tile] = static_cast<uint8_t>(rows);
    config.row_bytes[tile] = static_cast<uint16_t>(bytes);
  };
  for (int p = 0; p < 2; ++p) {
    set(p, height0, 64);
    set(2 + p, height1, 64);
    set(6 + p, step / kDotTerms, 64);
  }
  set(4, height0, step);
  set(5, height1, step);
  // GCC 12 believes that only the first 8 bytes are read, and drops other stores.
  asm volatile("" ::"r"(&config) : "memory");
  _tile_loadconfig(&config);
}

// A stretch of whole groups of W, for two panels (the second may be missing: no outputs).
struct Stretch {
  const uint8_t* panels[2];
  const uint8_t* codes[2];  // unpacked, of the stretch's first group
  __mmask16 outputs[2];
  size_t first, end;  // groups
};

// One or two blocks of rows.
struct Blocks {
  size_t count;
  RowBlock block[2];
};

// sums = the products of a group's codes with the rows of the blocks, tile by tile.
template <size_t kBlocks>
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
    _tile_dpbsud(0, 4, 6);
    _tile_dpbsud(1, 4, 7);
    if constexpr (kBlocks == 2) {
      _tile_loadd(5, x1, step);
      _tile_dpbsud(2, 5, 6);
      _tile_dpbsud(3, 5, 7);
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

// y += scale times the sums of one group, for a block and a panel; the first group begins y and the
// last one ends it with the tokens' scales.
template <size_t kDigits>
void Rescale(const Qgemm& gemm, const Stretch& stretch, size_t p, const RowBlock& block, size_t g,
             const int32_t* sums, float* y) {
  const QgemmWeights& w = gemm.weights;
  const __m512 scale = GroupScales(w, stretch.panels[p], g);
  const __m512i zeros = GroupZeros(w, stretch.panels[p], g);
  const __mmask16 outputs = stretch.outputs[p];
  const size_t token = block.first / kDigits;
  const int32_t* pairs = gemm.inputs.sums + g * gemm.inputs.tokens * kDigits + block.first;
  const bool begins = g == 0, ends = g + 1 == w.groups;
  for (size_t t = 0; t < block.height / kDigits; ++t, pairs += kDigits, sums += 16 * kDigits) {
    __m512i digits[kDigits];
    for (size_t d = 0; d < kDigits; ++d) digits[d] = _mm512_load_si512(sums + 16 * d);
    float* at = y + (token + t) * gemm.y_stride;
    const __m512 before = begins ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(outputs, at);
    __m512 c = _mm512_fmadd_ps(scale, Combine<kDigits>(digits, zeros, pairs), before);
    if (ends) c = _mm512_mul_ps(c, _mm512_set1_ps(gemm.inputs.scales[token + t]));
    _mm512_mask_storeu_ps(at, outputs, c);
  }
}

template <size_t kBlocks, size_t kDigits>
void MultiplyBlocks(const Qgemm& gemm, const Stretch& stretch, const RowBlock blocks[2], float* y,
                    int32_t* sums) {
  const QgemmWeights& w = gemm.weights;
  const size_t filled = w.steps * w.step, row_bytes = w.groups * filled;
  const size_t heights[2] = {blocks[0].height, blocks[1].height};
  for (size_t g = stretch.first; g < stretch.end; ++g) {
    const int8_t* values[2];
    for (size_t b = 0; b < 2; ++b)
      values[b] = gemm.inputs.values + blocks[b].first * row_bytes + g * filled * heights[b];
    const size_t at = (g - stretch.first) * filled * kPanelRows;
    MultiplyGroup<kBlocks>(values, heights, stretch.codes[0] + at, stretch.codes[1] + at, w.step,
                           w.steps, sums);
    for (size_t b = 0; b < kBlocks; ++b) {
      for (size_t p = 0; p < 2; ++p) {
        Rescale<kDigits>(gemm, stretch, p, blocks[b], g, sums + (2 * b + p) * kTileWords,
                         y + p * kPanelRows);
      }
    }
  }
}

// All rows [first, end) of activations.
template <size_t kDigits>
void MultiplyStretch(const Qgemm& gemm, const Stretch& stretch, size_t first, size_t end, float* y,
                     int32_t* sums) {
  size_t configured[2] = {};
  for (size_t row = first; row < end;) {
    RowBlock blocks[2] = {BlockOf(gemm.inputs, row), {}};
    const size_t next = row + blocks[0].height;
    const bool two = next < end;
    blocks[1] = two ? BlockOf(gemm.inputs, next) : blocks[0];
    if (configured[0] != blocks[0].height || configured[1] != blocks[1].height) {
      ConfigureTiles(blocks[0].height, blocks[1].height, gemm.weights.step);
      configured[0] = blocks[0].height;
      configured[1] = blocks[1].height;
    }
    if (two) {
      MultiplyBlocks<2, kDigits>(gemm, stretch, blocks, y, sums);
    } else {
      MultiplyBlocks<1, kDigits>(gemm, stretch, blocks, y, sums);
    }
    row = next + (two ? blocks[1].height : 0);
  }
}

template <int kBits>
void UnpackStretch(const uint8_t* from, size_t blocks, uint8_t* to) {
  for (size_t b = 0; b < blocks; ++b, from += kRowBytes * kBits) {
#pragma GCC unroll 8
    for (size_t r = 0; r < kBlockTerms / kDotTerms; ++r, to += kRowBytes)
      _mm512_store_si512(to, CodesOf<kBits>(from, r));
  }
}

// The codes of a panel from the given group on, one a byte: unpacked into `to`, or where they lie.
const uint8_t* UnpackedCodes(const QgemmWeights& w, const uint8_t* panel, size_t group,
                             size_t groups, uint8_t* to) {
  const size_t blocks = w.steps * w.step / kBlockTerms;
  const uint8_t* from = panel + group * blocks * kRowBytes * static_cast<size_t>(w.bits);
  if (w.bits == 8) return from;
  if (w.bits == 4) UnpackStretch<4>(from, groups * blocks, to);
  if (w.bits == 3) UnpackStretch<3>(from, groups * blocks, to);
  if (w.bits == 2) UnpackStretch<2>(from, groups * blocks, to);
  return to;
}

size_t GroupsAtATime(const QgemmWeights& w) {
  return Smaller(w.groups, Larger(1, kDepth / (w.steps * w.step)));
}

size_t UnpackedBytes(const QgemmWeights& w) {
  return w.bits == 8 ? 0 : GroupsAtATime(w) * w.steps * w.step * kPanelRows;
}

// Panels [first, end) over the groups of a stretch, for rows [row, end_row) of activations.
template <size_t kDigits>
void MultiplyPanels(const Qgemm& gemm, size_t first, size_t end, Stretch stretch, size_t row,
                    size_t end_row, uint8_t* scratch) {
  const QgemmWeights& w = gemm.weights;
  auto* sums = reinterpret_cast<int32_t*>(scratch);
  uint8_t* unpacked = scratch + 4 * kTileWords * sizeof(int32_t);
  for (size_t p = first; p < end; p += 2) {
    for (size_t i = 0; i < 2; ++i) {
      const bool there = p + i < end;
      stretch.panels[i] = w.panels + (there ? p + i : p) * w.panel_bytes;
      stretch.outputs[i] = there ? FirstOf(w.rows - (p + i) * kPanelRows) : 0;
      stretch.codes[i] =
          !there ? stretch.codes[0]
                 : UnpackedCodes(w, stretch.panels[i], stretch.first, stretch.end - stretch.first,
                                 unpacked + i * UnpackedBytes(w));
    }
    MultiplyStretch<kDigits>(gemm, stretch, row, end_row, gemm.y + p * kPanelRows, sums);
  }
}

template <size_t kDigits>
void MultiplyAmx(const Qgemm& gemm, size_t first, size_t end, uint8_t* scratch) {
  const QgemmWeights& w = gemm.weights;
  const size_t all_rows = gemm.inputs.tokens * kDigits, groups = GroupsAtATime(w);
  const size_t pair = 2 * BlockRows(kDigits);
  const size_t rows = Larger(1, kInputBytes / (groups * w.steps * w.step * pair)) * pair;
  for (size_t g = 0; g < w.groups; g += groups) {
    Stretch stretch = {};
    stretch.first = g;
    stretch.end = Smaller(w.groups, g + groups);
    for (size_t row = 0; row < all_rows; row += rows)
      MultiplyPanels<kDigits>(gemm, first, end, stretch, row, Smaller(row + rows, all_rows),
                              scratch);
  }
  _tile_release();
}

void MultiplyOp(const Qgemm& gemm, size_t first, size_t end, uint8_t* scratch) {
  if (gemm.inputs.tokens * gemm.inputs.digits <= kVnniRows) return MultiplyVnni(gemm, first, end);
  if (gemm.inputs.digits == 1) return MultiplyAmx<1>(gemm, first, end, scratch);
  MultiplyAmx<kMaxDigits>(gemm, first, end, scratch);
}

size_t ScratchBytesOp(const Qgemm& gemm) {
  return 4 * kTileWords * sizeof(int32_t) + 2 * UnpackedBytes(gemm.weights);
}

}  // namespace

const QgemmOps kAmxQgemm = {"amx", PackTokenOp, MultiplyOp, ScratchBytesOp};

}  // namespace quantref
