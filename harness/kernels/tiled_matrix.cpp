#include "harness/kernels/tiled_matrix.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "harness/base/align.h"
#include "harness/base/check.h"
#include "harness/base/half.h"
#include "harness/base/huge_memory.h"
#include "harness/kernels/isa.h"
#include "harness/kernels/qgemm_rows.h"
#include "harness/quant/affine.h"
#include "harness/quant/format.h"

namespace quantref {
namespace {

constexpr size_t kRowBytes = 64;  // of unpacked codes: kPanelRows * kDotTerms

// Where the code of an output (0..15) and an input (0..31) of a block lies.
struct Place {
  size_t byte, row;
};
Place Find(size_t output, size_t input) {
  return {output * kDotTerms + input % kDotTerms, input / kDotTerms};
}

// The codes of an output for inputs 4 row to 4 row + 3 of a block, a byte each.
template <int kBits>
uint32_t FourCodes(const uint8_t* block, size_t output, size_t row) {
  const auto word = [&](size_t stored_row) {
    uint32_t bytes;
    std::memcpy(&bytes, block + stored_row * kRowBytes + output * kDotTerms, sizeof(bytes));
    return bytes;
  };
  if constexpr (kBits == 8) return word(row);
  if constexpr (kBits == 4) return word(row / 2) >> (4 * (row % 2)) & 0x0f0f0f0fu;
  const uint32_t low = word(row / 4) >> (2 * (row % 4)) & 0x03030303u;
  if constexpr (kBits == 2) return low;
  return low | (word(2) >> row & 0x01010101u) << 2;
}

// The block's bits there are still 0.
void SetCode(uint8_t* block, int bits, Place at, unsigned code) {
  const auto add = [&](size_t row, unsigned value) {
    uint8_t& byte = block[row * kRowBytes + at.byte];
    byte = static_cast<uint8_t>(byte | value);
  };
  switch (bits) {
    case 8:
      return add(at.row, code);
    case 4:
      return add(at.row / 2, code << (4 * (at.row % 2)));
    default:
      add(at.row / 4, (code & 3u) << (2 * (at.row % 4)));
      if (bits == 3) add(2, (code >> 2) << at.row);
  }
}

// Everything but the panels themselves.
QgemmWeights PanelLayout(size_t rows, size_t cols, const WeightScheme& scheme) {
  const ScaleShape shape = ShapeOfScales(rows, cols, scheme);
  QgemmWeights w{};
  w.rows = rows;
  w.cols = cols;
  w.bits = scheme.bits > 4 ? 8 : scheme.bits;
  w.group = shape.cols_each;
  w.groups = shape.cols;
  const size_t filled = RoundUp(w.group, kBlockTerms);
  w.step = filled % (2 * kBlockTerms) == 0 ? 2 * kBlockTerms : kBlockTerms;
  w.steps = filled / w.step;
  w.last_steps = RoundUp(shape.Size(shape.cols - 1), w.step) / w.step;
  w.scales_at = RowTerms(w) / kBlockTerms * kRowBytes * static_cast<size_t>(w.bits);
  w.zeros_at = w.scales_at + w.groups * kPanelRows * sizeof(uint16_t);
  w.panel_bytes = RoundUp(w.zeros_at + w.groups * kPanelRows, kRowBytes);
  return w;
}

size_t PanelBytes(const QgemmWeights& w) {
  return RoundUp(w.rows, kPanelRows) / kPanelRows * w.panel_bytes;
}

}  // namespace

bool TiledMatrix::Supports(const WeightScheme& scheme, size_t cols) {
  if (!scheme.format->affine() || scheme.granularity == Granularity::kColumn) return false;
  return ShapeOfScales(1, cols, scheme).cols_each <= kMaxGroup;
}

TiledMatrix::TiledMatrix(size_t rows, size_t cols, const WeightScheme& scheme)
    : scheme_(scheme), plain_(PanelLayout(rows, cols, scheme)) {
  QR_CHECK(Supports(scheme, cols));
  data_ = AllocateHuge(bytes());
  plain_.panels = data_.get();
}

TiledMatrix::TiledMatrix(const PackedMatrix& packed)
    : TiledMatrix(packed.rows(), packed.cols(), packed.scheme()) {
  order_.assign(packed.order().begin(), packed.order().end());
  exponent_ = packed.exponent();
  std::vector<uint8_t> codes(packed.cols());
  for (size_t row = 0; row < packed.rows(); ++row) {
    packed.GetCodes(row, codes);
    for (size_t g = 0; g < plain_.groups; ++g) {
      const Affine affine = packed.affine(packed.scales().RowOf(row), g);
      SetGroup(row, g, std::span(codes).subspan(g * plain_.group, TermsOf(plain_, g)),
               FloatToHalf(std::ldexp(affine.scale, -exponent_)),
               static_cast<uint8_t>(affine.zero));
    }
  }
}

TiledMatrix TiledMatrix::Random(size_t rows, size_t cols, const WeightScheme& scheme, Rng& rng) {
  TiledMatrix matrix(rows, cols, scheme);
  const QgemmWeights& plain = matrix.plain_;
  const double scale =
      2 / (static_cast<double>(1u << scheme.bits) * std::sqrt(static_cast<double>(cols)));
  const uint64_t middle = uint64_t{1} << (scheme.bits - 1);
  // Every pattern of bits is a code, but for those of 5 to 7 bits in their bytes.
  const uint64_t mask = plain.bits == 8 ? 0x0101010101010101u * ((1u << scheme.bits) - 1) : ~0ull;
  for (size_t panel = 0; panel * kPanelRows < rows; ++panel) {
    uint8_t* begin = matrix.data_.get() + panel * plain.panel_bytes;
    for (size_t at = 0; at < plain.scales_at; at += sizeof(uint64_t)) {
      const uint64_t word = rng.Next() & mask;
      std::memcpy(begin + at, &word, sizeof(word));
    }
    for (size_t i = 0; i < plain.groups * kPanelRows; ++i) {
      const uint16_t half = FloatToHalf(static_cast<float>(scale * (1 + rng.Uniform())));
      std::memcpy(begin + plain.scales_at + i * sizeof(half), &half, sizeof(half));
      begin[plain.zeros_at + i] =
          static_cast<uint8_t>(scheme.symmetric ? middle : middle - 1 + rng.Below(2));
    }
  }
  return matrix;
}

uint8_t* TiledMatrix::Block(size_t panel, size_t group, size_t block) const {
  const size_t blocks = group * plain_.steps * plain_.step / kBlockTerms + block;
  return data_.get() + panel * plain_.panel_bytes +
         blocks * kRowBytes * static_cast<size_t>(plain_.bits);
}

void TiledMatrix::SetGroup(size_t row, size_t group, std::span<const uint8_t> codes, uint16_t scale,
                           uint8_t zero) {
  const size_t panel = row / kPanelRows, output = row % kPanelRows;
  for (size_t k = 0; k < codes.size(); ++k) {
    SetCode(Block(panel, group, k / kBlockTerms), plain_.bits, Find(output, k % kBlockTerms),
            codes[k]);
  }
  uint8_t* begin = data_.get() + panel * plain_.panel_bytes;
  const size_t at = group * kPanelRows + output;
  std::memcpy(begin + plain_.scales_at + at * sizeof(scale), &scale, sizeof(scale));
  begin[plain_.zeros_at + at] = zero;
}

void TiledMatrix::GetCodes(size_t row, std::span<uint8_t> codes) const {
  switch (plain_.bits) {
    case 2:
      return GetCodesOf<2>(row, codes);
    case 3:
      return GetCodesOf<3>(row, codes);
    case 4:
      return GetCodesOf<4>(row, codes);
    default:
      return GetCodesOf<8>(row, codes);
  }
}

template <int kBits>
void TiledMatrix::GetCodesOf(size_t row, std::span<uint8_t> codes) const {
  const uint8_t* block = plain_.panels + row / kPanelRows * plain_.panel_bytes;
  const size_t output = row % kPanelRows;
  for (size_t g = 0; g < plain_.groups; ++g) {
    const size_t terms = TermsOf(plain_, g), filled = StepsOf(plain_, g) * plain_.step;
    uint8_t* group = &codes[g * plain_.group];
    for (size_t first = 0; first < filled; first += kBlockTerms, block += kRowBytes * kBits) {
      uint32_t words[kBlockTerms / kDotTerms];
      for (size_t r = 0; r < std::size(words); ++r) words[r] = FourCodes<kBits>(block, output, r);
      const size_t left = terms - std::min(first, terms);
      if (left >= sizeof(words)) {
        std::memcpy(group + first, words, sizeof(words));  // of a size that the compiler knows
      } else {
        std::memcpy(group + first, words, left);
      }
    }
  }
}

Affine TiledMatrix::GroupAffine(size_t row, size_t group) const {
  const uint8_t* begin = plain_.panels + row / kPanelRows * plain_.panel_bytes;
  const size_t at = group * kPanelRows + row % kPanelRows;
  uint16_t scale = 0;
  std::memcpy(&scale, begin + plain_.scales_at + at * sizeof(scale), sizeof(scale));
  return {std::ldexp(HalfToFloat(scale), exponent_), begin[plain_.zeros_at + at]};
}

PackedMatrix TiledMatrix::Unpack() const {
  PackedMatrix packed(rows(), cols(), scheme_);
  packed.set_exponent(exponent_);
  std::vector<uint8_t> codes(cols());
  for (size_t row = 0; row < rows(); ++row) {
    GetCodes(row, codes);
    packed.SetCodes(row, codes);
    if (row % packed.scales().rows_each != 0) continue;
    for (size_t g = 0; g < packed.scale_cols(); ++g)
      packed.set_affine(packed.scales().RowOf(row), g, GroupAffine(row, g));
  }
  packed.set_order(order_);
  return packed;
}

void TiledMatrix::DecodeRows(size_t first, MatrixView<float> values) const {
  QR_CHECK_EQ(values.cols(), cols());
  QR_CHECK_LE(first + values.rows(), rows());
  const VectorOps& ops = Ops();
  std::vector<uint8_t> codes(cols());
  std::vector<float> by_position(order_.size());
  for (size_t r = 0; r < values.rows(); ++r) {
    GetCodes(first + r, codes);
    float* decoded = order_.empty() ? values.row(r) : by_position.data();
    for (size_t g = 0; g < plain_.groups; ++g) {
      const auto [scale, zero] = GroupAffine(first + r, g);
      ops.decode_codes(&codes[g * plain_.group], TermsOf(plain_, g), scale,
                       static_cast<float>(zero), decoded + g * plain_.group);
    }
    for (size_t p = 0; p < order_.size(); ++p) values(r, order_[p]) = decoded[p];
  }
}

void TiledMatrix::DecodeInputs(size_t panel, std::span<const uint32_t> positions,
                               float* values) const {
  switch (plain_.bits) {
    case 2:
      return DecodeInputsOf<2>(panel, positions, values);
    case 3:
      return DecodeInputsOf<3>(panel, positions, values);
    case 4:
      return DecodeInputsOf<4>(panel, positions, values);
    default:
      return DecodeInputsOf<8>(panel, positions, values);
  }
}

template <int kBits>
void TiledMatrix::DecodeInputsOf(size_t panel, std::span<const uint32_t> positions,
                                 float* values) const {
  const uint8_t* begin = plain_.panels + panel * plain_.panel_bytes;
  const float unit = std::ldexp(1.0f, exponent_);
  float scales[kPanelRows] = {};  // of the group at hand; of outputs beyond the last they are 0
  size_t group = plain_.groups;   // none yet
  for (const uint32_t position : positions) {
    if (position / plain_.group != group) {
      group = position / plain_.group;
      uint16_t halves[kPanelRows];
      std::memcpy(halves, begin + plain_.scales_at + group * sizeof(halves), sizeof(halves));
      Ops().half_to_float(halves, scales, kPanelRows);
      for (float& scale : scales) scale *= unit;
    }
    const uint8_t* zeros = begin + plain_.zeros_at + group * kPanelRows;
    const size_t k = position % plain_.group, row = k % kBlockTerms / kDotTerms;
    const uint8_t* block = Block(panel, group, k / kBlockTerms);
    for (size_t i = 0; i < kPanelRows; ++i) {
      const uint32_t code = FourCodes<kBits>(block, i, row) >> (8 * (k % kDotTerms)) & 0xff;
      *values++ = scales[i] * static_cast<float>(static_cast<int>(code) - zeros[i]);
    }
  }
}

size_t TiledMatrix::bytes() const { return PanelBytes(plain_); }

size_t TiledMatrix::BytesOf(size_t rows, size_t cols, const WeightScheme& scheme) {
  QR_CHECK(Supports(scheme, cols));
  return PanelBytes(PanelLayout(rows, cols, scheme));
}

size_t TiledMatrix::StorageBits() const {
  return PackedStorageBits(rows(), cols(), scheme_, !order_.empty()) +
         (exponent_ != 0 ? kExponentBits : 0);
}

}  // namespace quantref
