#include "harness/kernels/gemm_amx.h"

#include <immintrin.h>

#include "harness/base/align.h"
#include "harness/kernels/amx_tiles.h"

namespace quantref {
namespace {

constexpr size_t kTerms = 3;
constexpr size_t kSide = 32;         // the microkernel's block of c: 2 x 2 tiles
constexpr size_t kStep = 32;         // terms of the sum that one tile instruction takes
constexpr size_t kTileBytes = 1024;  // 16 rows of 64 bytes
constexpr size_t kStepBytes = kTerms * 2 * kTileBytes;  // of one operand's block, one step
constexpr size_t kDepth = 512;                          // of the sum, between two visits to c
constexpr size_t kWidth = 256;  // of b in one go: kDepth * kWidth * 6 bytes stay in the L2 cache
constexpr size_t kBand = 128;   // of a, where that is enough: kDepth * kBand * 6 bytes do too

size_t Least(size_t a, size_t b) { return a < b ? a : b; }

// The nearest BF16 number, as FP32; ties away from zero.
__m512 Leading(__m512 x) {
  const __m512i bits = _mm512_add_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(0x8000));
  return _mm512_castsi512_ps(_mm512_and_si512(bits, _mm512_set1_epi32(-0x10000)));
}

// Takes the leading BF16 term off x and y and gives the pairs (x, y) of their 16 bits, x low.
__m512i TakePairs(__m512& x, __m512& y) {
  const __m512 x1 = Leading(x), y1 = Leading(y);
  x = _mm512_sub_ps(x, x1);
  y = _mm512_sub_ps(y, y1);
  return _mm512_or_si512(_mm512_srli_epi32(_mm512_castps_si512(x1), 16), _mm512_castps_si512(y1));
}

// Transposes 16 x 16 words.
void Transpose(__m512i w[16]) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(w[i], w[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(w[i], w[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    w[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    w[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    w[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    w[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(w[i], w[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(w[i], w[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(w[i + 8], w[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(w[i + 8], w[i + 12], 0xdd);
  }
  for (int i = 0; i < 4; ++i) {
    w[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    w[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    w[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    w[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
  }
}

__mmask16 First(size_t n) { return static_cast<__mmask16>(n >= 16 ? 0xffff : (1u << n) - 1); }

// 16 rows by 32 terms of an operand as words, pairs of terms: w[t][i], of term t of the split, is
// row i where the terms lie side by side (by_row), else pair i. What is beyond rows or terms is 0.
struct Words {
  __m512i w[kTerms][16];
  bool by_row;
};

void LoadWords(const GemmOperand& operand, size_t rows, size_t terms, float sign, Words& words) {
  words.by_row = operand.term_stride == 1;
  const __m512 factor = _mm512_set1_ps(sign);
  // Even and odd terms of 32 that lie side by side.
  const __m512i even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
  const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
  for (size_t i = 0; i < 16; ++i) {
    __m512 x, y;
    if (words.by_row) {
      const float* from = operand.data + i * operand.row_stride;
      const size_t in_row = i < rows ? terms : 0;
      const __m512 low = _mm512_maskz_loadu_ps(First(in_row), from);
      const __m512 high =
          in_row > 16 ? _mm512_maskz_loadu_ps(First(in_row - 16), from + 16) : _mm512_setzero_ps();
      x = _mm512_permutex2var_ps(low, even, high);
      y = _mm512_permutex2var_ps(low, odd, high);
    } else {
      const float* from = operand.data + 2 * i * operand.term_stride;
      x = _mm512_maskz_loadu_ps(First(2 * i < terms ? rows : 0), from);
      y = _mm512_maskz_loadu_ps(First(2 * i + 1 < terms ? rows : 0), from + operand.term_stride);
    }
    x = _mm512_mul_ps(x, factor);
    y = _mm512_mul_ps(y, factor);
    for (size_t t = 0; t < kTerms; ++t) words.w[t][i] = TakePairs(x, y);
  }
}

// Packs rows [0, rows) and terms [0, terms) of an operand into blocks of 32 rows: for each block,
// for each step of 32 terms, for each term of the split, two tiles. Tiles hold rows of pairs (a) or
// pairs of rows (b). Returns which terms of the split occur: bit t.
unsigned Pack(const GemmOperand& operand, size_t rows, size_t terms, float sign, bool tile_by_row,
              uint8_t* packed) {
  __m512i any[kTerms] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
  Words words;
  for (size_t row = 0; row < rows; row += kSide) {
    for (size_t at = 0; at < terms; at += kStep) {
      for (size_t half = 0; half < 2; ++half, packed += kTileBytes) {
        const size_t first = row + 16 * half;
        const GemmOperand part = {operand.data + (first < rows ? first * operand.row_stride : 0) +
                                      at * operand.term_stride,
                                  operand.row_stride, operand.term_stride};
        LoadWords(part, first < rows ? rows - first : 0, terms - at, sign, words);
        for (size_t t = 0; t < kTerms; ++t) {
          if (words.by_row != tile_by_row) Transpose(words.w[t]);
          uint8_t* tile = packed + t * 2 * kTileBytes;
          for (size_t i = 0; i < 16; ++i) {
            any[t] = _mm512_or_si512(any[t], words.w[t][i]);
            _mm512_store_si512(tile + 64 * i, words.w[t][i]);
          }
        }
      }
      packed += kStepBytes - 2 * kTileBytes;
    }
  }
  unsigned occurring = 1;
  const __m512i magnitude = _mm512_set1_epi32(0x7fff7fff);
  for (size_t t = 1; t < kTerms; ++t) {
    if (_mm512_test_epi32_mask(any[t], magnitude) != 0) occurring |= 1u << t;
  }
  return occurring;
}

// Tiles 0..3: the 2 x 2 of c; 4, 5: a term of a; 6, 7: a term of b.
#define QUANTREF_LOAD_A(t)                    \
  _tile_loadd(4, a + (t)*2 * kTileBytes, 64); \
  _tile_loadd(5, a + (t)*2 * kTileBytes + kTileBytes, 64);
#define QUANTREF_LOAD_B(u)                    \
  _tile_loadd(6, b + (u)*2 * kTileBytes, 64); \
  _tile_loadd(7, b + (u)*2 * kTileBytes + kTileBytes, 64);
#define QUANTREF_MULTIPLY  \
  _tile_dpbf16ps(0, 4, 6); \
  _tile_dpbf16ps(1, 4, 7); \
  _tile_dpbf16ps(2, 5, 6); \
  _tile_dpbf16ps(3, 5, 7);

// What the next block needs, asked for while this one is multiplied: tiles that wait for memory
// stop everything. A little each step, because requests fill the buffers that loads wait for too.
struct Ahead {
  const float* c;    // its first row, rows as far apart as those of this block
  size_t rows;       // 0: nothing to ask for
  const uint8_t* a;  // this block's share of the next rows of a; nullptr: nothing to ask for
};
constexpr size_t kRowsAStep = 2, kLinesAStep = kStepBytes / 64 / (kWidth / kSide);

// c (32, 32) = a b^T over `steps` steps, plus c unless it is fresh; small products before the
// largest.
template <int kTermsOfB>
void Microkernel(const uint8_t* a, const uint8_t* b, size_t steps, bool fresh, float* c,
                 size_t c_stride, const Ahead& ahead) {
  const size_t bytes = c_stride * sizeof(float);
  size_t asked_row = 0;
  const uint8_t* asked_a = ahead.a;
  if (fresh) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  } else {
    _tile_loadd(0, c, bytes);
    _tile_loadd(1, c + 16, bytes);
    _tile_loadd(2, c + 16 * c_stride, bytes);
    _tile_loadd(3, c + 16 * c_stride + 16, bytes);
  }
  for (size_t step = 0; step < steps; ++step, a += kStepBytes, b += kStepBytes) {
    for (size_t i = 0; i < kRowsAStep && asked_row < ahead.rows; ++i, ++asked_row) {
      __builtin_prefetch(ahead.c + asked_row * c_stride, 1);
      __builtin_prefetch(ahead.c + asked_row * c_stride + 16, 1);
    }
    if (asked_a != nullptr) {
      for (size_t i = 0; i < kLinesAStep; ++i, asked_a += 64)
        _mm_prefetch(reinterpret_cast<const char*>(asked_a), _MM_HINT_T1);
    }
    // From one product to the next one operand stays: tile loads are what a busy core is short of.
    if constexpr (kTermsOfB >= 2) {
      QUANTREF_LOAD_A(0)
      if constexpr (kTermsOfB == 3) {
        QUANTREF_LOAD_B(2)
        QUANTREF_MULTIPLY
      }
      QUANTREF_LOAD_B(1)
      QUANTREF_MULTIPLY
    }
    QUANTREF_LOAD_A(1)
    if constexpr (kTermsOfB >= 2) {
      QUANTREF_MULTIPLY
    }
    QUANTREF_LOAD_B(0)
    QUANTREF_MULTIPLY
    QUANTREF_LOAD_A(2)
    QUANTREF_MULTIPLY
    QUANTREF_LOAD_A(0)
    QUANTREF_MULTIPLY
  }
  _tile_stored(0, c, bytes);
  _tile_stored(1, c + 16, bytes);
  _tile_stored(2, c + 16 * c_stride, bytes);
  _tile_stored(3, c + 16 * c_stride + 16, bytes);
}

#undef QUANTREF_LOAD_A
#undef QUANTREF_LOAD_B
#undef QUANTREF_MULTIPLY

// What the blocks of one visit to c have in common.
struct Visit {
  unsigned terms_of_b;  // of the split: bit t
  size_t steps;
  bool fresh;  // c holds nothing yet
};

void RunMicrokernel(const Visit& visit, const uint8_t* a, const uint8_t* b, float* c,
                    size_t c_stride, const Ahead& ahead) {
  const auto microkernel = visit.terms_of_b == 1  ? Microkernel<1>
                           : visit.terms_of_b < 4 ? Microkernel<2>
                                                  : Microkernel<3>;
  microkernel(a, b, visit.steps, visit.fresh, c, c_stride, ahead);
}

void CopyBlock(const float* from, size_t from_stride, size_t rows, size_t cols, float* to,
               size_t to_stride) {
  for (size_t i = 0; i < rows; ++i) {
    __builtin_memcpy(to + i * to_stride, from + i * from_stride, cols * sizeof(float));
  }
}

// All rows of c (m, cols) for a stretch of b and of the sum; blocks at the edges go by way of a
// buffer.
void MultiplyPacked(const Visit& visit, const uint8_t* a, const uint8_t* b, size_t m, size_t cols,
                    float* c, size_t c_stride) {
  alignas(64) float edge[kSide * kSide] = {};
  const size_t block_bytes = visit.steps * kStepBytes;
  for (size_t row = 0; row < m; row += kSide, a += block_bytes) {
    const size_t height = Least(kSide, m - row), next_height = Least(kSide, m - row - height);
    const uint8_t* block = b;
    const uint8_t* share = next_height == 0 ? nullptr : a + block_bytes;
    for (size_t col = 0; col < cols; col += kSide, block += block_bytes) {
      const size_t width = Least(kSide, cols - col);
      float* at = c + row * c_stride + col;
      const bool is_last = width == cols - col;
      const Ahead ahead = {is_last ? c + (row + height) * c_stride : at + kSide,
                           is_last ? next_height : height, share};
      if (share != nullptr) share += visit.steps * kLinesAStep * 64;
      if (height == kSide && width == kSide) {
        RunMicrokernel(visit, a, block, at, c_stride, ahead);
        continue;
      }
      if (!visit.fresh) CopyBlock(at, c_stride, height, width, edge, kSide);
      RunMicrokernel(visit, a, block, edge, kSide, {nullptr, 0, nullptr});
      CopyBlock(edge, kSide, height, width, at, c_stride);
    }
  }
}

size_t PackedBytes(size_t rows, size_t terms) {
  return RoundUp(rows, kSide) / kSide * (RoundUp(terms, kStep) / kStep) * kStepBytes;
}

GemmOperand From(const GemmOperand& operand, size_t row, size_t term) {
  return {operand.data + row * operand.row_stride + term * operand.term_stride, operand.row_stride,
          operand.term_stride};
}

// How many rows of a are packed at a time. Where one stretch of b is all of it, each is read once
// and few of them stay in the L2 cache.
size_t BandOf(size_t m, size_t n) { return n <= kWidth ? Least(m, kBand) : m; }

}  // namespace

size_t AmxScratchBytes(size_t m, size_t n, size_t k) {
  const size_t depth = Least(k, kDepth);
  return PackedBytes(BandOf(m, n), depth) + PackedBytes(Least(n, kWidth), depth);
}

void RunAmxGemm(const AmxGemm& gemm) {
  UseFullTiles();
  const size_t band = BandOf(gemm.m, gemm.n);
  for (size_t term = 0; term < gemm.k; term += kDepth) {
    const size_t depth = Least(kDepth, gemm.k - term), steps = RoundUp(depth, kStep) / kStep;
    uint8_t* a = gemm.scratch;
    uint8_t* b = a + PackedBytes(band, depth);
    for (size_t col = 0; col < gemm.n; col += kWidth) {
      const size_t cols = Least(kWidth, gemm.n - col);
      const unsigned terms = Pack(From(gemm.b, col, term), cols, depth, 1.0f, false, b);
      const Visit visit = {terms, steps, term == 0 && !gemm.accumulate};
      for (size_t row = 0; row < gemm.m; row += band) {
        const size_t rows = Least(band, gemm.m - row);
        if (col == 0) Pack(From(gemm.a, row, term), rows, depth, gemm.sign, true, a);
        MultiplyPacked(visit, a, b, rows, cols, gemm.c + row * gemm.c_stride + col, gemm.c_stride);
      }
    }
  }
  _tile_release();
}

}  // namespace quantref
