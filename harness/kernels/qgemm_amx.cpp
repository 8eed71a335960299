#include <immintrin.h>

#include "harness/kernels/qgemm_amx_blocks.h"

namespace quantref {
namespace {

constexpr size_t kInputBytes = 1 << 20;  // of activations that stay in the L2 cache meanwhile
constexpr size_t kVnniRows = 8;          // with so few rows of activations tiles are mostly empty

// All rows [first, end) of activations.
template <size_t kDigits, Codes kCodes>
void MultiplyStretch(const Qgemm& gemm, const Stretch& stretch, size_t first, size_t end, float* y,
                     Corner& corner, Prefetch& prefetch) {
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
    const size_t rows_here = blocks[0].height + (two ? blocks[1].height : 0);
    const size_t token = row / kDigits, tokens = rows_here / kDigits;
    Begin(gemm, stretch, token, tokens, y, corner.outputs);
    if (rows_here == 2 * BlockRows(kDigits)) {
      Pipeline<kDigits, kCodes>(gemm, stretch, blocks, corner, prefetch).Run();
    } else if (two) {
      MultiplyBlocks<2, kDigits, kCodes>(gemm, stretch, blocks, corner);
    } else {
      MultiplyBlocks<1, kDigits, kCodes>(gemm, stretch, blocks, corner);
    }
    End(gemm, stretch, token, tokens, y, corner.outputs);
    row = next + (two ? blocks[1].height : 0);
  }
}

// Four times the zero point of each output, beside the four codes of a row.
__m512i ZeroBytes(const uint8_t* zeros) {
  const __m512i z = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(zeros)));
  return _mm512_mullo_epi32(z, _mm512_set1_epi32(0x01010101));
}

// Groups [first, end) of a panel, whose codes are at `from`, as code - zero.
template <int kCodes>
void UnpackCentred(const QgemmWeights& w, const uint8_t* panel, size_t first, size_t end,
                   const uint8_t* from, uint8_t* to) {
  const __m512i look_up = kCodes == kLookedCodes ? LookUpOf(w) : _mm512_setzero_si512();
  for (size_t g = first; g < end; ++g) {
    const __m512i zero = ZeroBytes(panel + w.zeros_at + g * kPanelRows);
    const size_t blocks = StepsOf(w, g) * w.step / kBlockTerms;
    for (size_t b = 0; b < blocks; ++b, from += kRowBytes * BitsOf(kCodes)) {
#pragma GCC unroll 8
      for (size_t r = 0; r < kBlockTerms / kDotTerms; ++r, to += kRowBytes)
        _mm512_store_si512(to, _mm512_sub_epi8(CodesOf<kCodes>(from, r, look_up), zero));
    }
  }
}

// Of the packed codes of so many inputs of a panel, whole blocks.
size_t CodeBytes(const QgemmWeights& w, size_t terms) {
  return terms / kBlockTerms * kRowBytes * static_cast<size_t>(w.bits);
}

const uint8_t* PackedCodes(const QgemmWeights& w, size_t panel, size_t group) {
  return w.panels + panel * w.panel_bytes + CodeBytes(w, group * w.steps * w.step);
}

// A panel's codes of groups [first, end), one a byte: centred in `to`, or 8 bits where they lie.
const uint8_t* UnpackedCodes(const QgemmWeights& w, size_t panel, size_t first, size_t end,
                             uint8_t* to) {
  const uint8_t* from = PackedCodes(w, panel, first);
  const uint8_t* begin = w.panels + panel * w.panel_bytes;
  if (w.bits == 8) return from;
  if (w.form == CodeForm::kLooked) {
    UnpackCentred<kLookedCodes>(w, begin, first, end, from, to);
    return to;
  }
  if (w.bits == 4) UnpackCentred<4>(w, begin, first, end, from, to);
  if (w.bits == 3) UnpackCentred<3>(w, begin, first, end, from, to);
  if (w.bits == 2) UnpackCentred<2>(w, begin, first, end, from, to);
  return to;
}

// Groups of W that are unpacked at a time: deep stretches begin and end less often, shallow ones
// leave more of the L2 cache to activations, which are three bytes each where they have digits.
size_t GroupsAtATime(const Qgemm& gemm) {
  const QgemmWeights& w = gemm.weights;
  const size_t depth = gemm.inputs.digits == 1 ? 4096 : 2048;
  return Smaller(w.groups, Larger(1, depth / (w.steps * w.step)));
}

size_t UnpackedBytes(const Qgemm& gemm) {
  const QgemmWeights& w = gemm.weights;
  return w.bits == 8 ? 0 : GroupsAtATime(gemm) * w.steps * w.step * kPanelRows;
}

// Panels [first, end) over the groups of a stretch, for rows [row, end_row) of activations.
template <size_t kDigits, Codes kCodes>
void MultiplyPanels(const Qgemm& gemm, size_t first, size_t end, Stretch stretch, size_t row,
                    size_t end_row, uint8_t* scratch) {
  const QgemmWeights& w = gemm.weights;
  auto& corner = *reinterpret_cast<Corner*>(scratch);
  uint8_t* unpacked = scratch + sizeof(Corner);
  for (size_t p = first; p < end; p += 2) {
    for (size_t i = 0; i < 2; ++i) {
      const bool there = p + i < end;
      stretch.panels[i] = w.panels + (there ? p + i : p) * w.panel_bytes;
      stretch.outputs[i] = FirstOf(there ? w.rows - (p + i) * kPanelRows : 0);
      stretch.codes[i] = !there ? stretch.codes[0]
                                : UnpackedCodes(w, p + i, stretch.first, stretch.end,
                                                unpacked + i * UnpackedBytes(gemm));
    }
    const size_t next = p + 2 < end ? p + 2 : p, last = Smaller(next + 1, end - 1);
    const uint8_t* const following[2] = {PackedCodes(w, next, stretch.first),
                                         PackedCodes(w, last, stretch.first)};
    const size_t terms = StoredTerms(w, stretch.first, stretch.end);
    Prefetch prefetch(following, CodeBytes(w, terms),
                      terms / w.step * Larger(1, (end_row - row) / (2 * BlockRows(kDigits))));
    MultiplyStretch<kDigits, kCodes>(gemm, stretch, row, end_row, gemm.y + p * kPanelRows, corner,
                                     prefetch);
  }
}

template <size_t kDigits, Codes kCodes>
void MultiplyAmx(const Qgemm& gemm, size_t first, size_t end, uint8_t* scratch) {
  const QgemmWeights& w = gemm.weights;
  const size_t all_rows = gemm.inputs.tokens * kDigits, groups = GroupsAtATime(gemm);
  const size_t pair = 2 * BlockRows(kDigits);
  const size_t rows = Larger(1, kInputBytes / (groups * w.steps * w.step * pair)) * pair;
  for (size_t g = 0; g < w.groups; g += groups) {
    Stretch stretch = {};
    stretch.first = g;
    stretch.end = Smaller(w.groups, g + groups);
    for (size_t row = 0; row < all_rows; row += rows)
      MultiplyPanels<kDigits, kCodes>(gemm, first, end, stretch, row, Smaller(row + rows, all_rows),
                                      scratch);
  }
  _tile_release();
}

void MultiplyOp(const Qgemm& gemm, size_t first, size_t end, uint8_t* scratch) {
  if (gemm.inputs.tokens * gemm.inputs.digits <= kVnniRows) return MultiplyVnni(gemm, first, end);
  const bool one = gemm.inputs.digits == 1;
  const auto multiply =
      gemm.weights.bits == 8
          ? (one ? MultiplyAmx<1, Codes::kPlain> : MultiplyAmx<kMaxDigits, Codes::kPlain>)
          : (one ? MultiplyAmx<1, Codes::kCentred> : MultiplyAmx<kMaxDigits, Codes::kCentred>);
  multiply(gemm, first, end, scratch);
}

size_t ScratchBytesOp(const Qgemm& gemm) { return sizeof(Corner) + 2 * UnpackedBytes(gemm); }

}  // namespace

const QgemmOps kAmxQgemm = {"amx", PackTokenByVectors, MultiplyOp, ScratchBytesOp};

}  // namespace quantref
