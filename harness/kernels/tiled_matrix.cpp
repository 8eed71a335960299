#include "harness/kernels/tiled_matrix.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "harness/base/align.h"
#include "harness/base/check.h"
#include "harness/base/half.h"
#include "harness/base/huge_memory.h"
#include "harness/kernels/isa.h"
#include "harness/kernels/panel_layout.h"
#include "harness/kernels/qgemm_rows.h"
#include "harness/quant/affine.h"
#include "harness/quant/format.h"
#include "harness/quant/grid.h"

namespace quantref {
namespace {

constexpr size_t kRowBytes = 64;  // of unpacked codes: kPanelRows * kDotTerms

// Where the code of an output (0..15) and an input (0..31) of a block lies.
struct Place {
  size_t byte, row;
};
Place Find(CodeForm form, size_t output, size_t input) {
  const size_t byte = form == CodeForm::kCodebook ? CodebookByte(output, input)
                                                  : output * kDotTerms + input % kDotTerms;
  return {byte, input / kDotTerms};
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

// The code of a place.
unsigned CodeAt(const uint8_t* block, int bits, Place at) {
  const auto field = [&](size_t row, size_t shift, unsigned mask) {
    return static_cast<unsigned>(block[row * kRowBytes + at.byte]) >> shift & mask;
  };
  if (bits == 8) return field(at.row, 0, 255);
  if (bits == 4) return field(at.row / 2, 4 * (at.row % 2), 15);
  const unsigned low = field(at.row / 4, 2 * (at.row % 4), 3);
  return bits == 2 ? low : low | field(2, at.row, 1) << 2;
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

}  // namespace

bool TiledMatrix::Supports(const WeightScheme& scheme, size_t cols) {
  const NumberFormat& format = *scheme.format;
  if (!IsEvenlySpaced(format) && format.levels.size() != kLevels) return false;
  if (scheme.granularity == Granularity::kColumn) return false;
  return ShapeOfScales(1, cols, scheme).cols_each <= kMaxGroup;
}

TiledMatrix::TiledMatrix(size_t rows, size_t cols, const WeightScheme& scheme)
    : scheme_(scheme),
      shape_(ShapeOfScales(rows, cols, scheme)),
      plain_(PanelLayout(rows, cols, scheme)),
      turned_(IsTernary(*scheme.format) ? kSignBit : uint8_t{0}) {
  QR_CHECK(Supports(scheme, cols));
  data_ = AllocateHuge(bytes());
  plain_.panels = data_.get();
  for (size_t c = 0; c < scheme.format->levels.size(); ++c)
    levels_.push_back(scheme.format->levels[c]);
}

TiledMatrix::TiledMatrix(const PackedMatrix& packed)
    : TiledMatrix(packed.rows(), packed.cols(), packed.scheme()) {
  order_.assign(packed.order().begin(), packed.order().end());
  exponent_ = packed.exponent();
  std::vector<uint8_t> codes(packed.cols());
  for (size_t row = 0; row < packed.rows(); ++row) {
    packed.GetCodes(row, codes);
    for (size_t g = 0; g < plain_.groups; ++g) {
      SetCodes(row, g, std::span(codes).subspan(shape_.Begin(g), shape_.Size(g)));
      if (plain_.form != CodeForm::kPlain) continue;
      const Grid grid = packed.grid(shape_.RowOf(row), g);
      SetFactors(row, g, FloatToHalf(std::ldexp(grid.scale(), -exponent_)), ZeroOf(grid));
    }
  }
  if (plain_.form == CodeForm::kPlain) return;
  scales_.assign(packed.scale_bytes().begin(), packed.scale_bytes().end());
  frame_ = packed.frame();
  SetTableFactors();
}

// Of evenly spaced codes.
float TiledMatrix::ZeroOf(const Grid& grid) const {
  if (turned_ != 0) return float{kSignBit};
  return plain_.rests_at > 0 ? grid.zero() : static_cast<float>(grid.affine().zero);
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
      uint64_t word = rng.Next() & mask;
      if (matrix.turned_ != 0) word |= ~(word | word >> 1) & 0x5555555555555555u;  // no 0
      std::memcpy(begin + at, &word, sizeof(word));
    }
    if (plain.form != CodeForm::kPlain) continue;
    for (size_t i = 0; i < plain.groups * kPanelRows; ++i) {
      const uint16_t half = FloatToHalf(static_cast<float>(scale * (1 + rng.Uniform())));
      std::memcpy(begin + plain.scales_at + i * sizeof(half), &half, sizeof(half));
      const bool fixed = scheme.symmetric || matrix.turned_ != 0;
      begin[plain.zeros_at + i] = static_cast<uint8_t>(fixed ? middle : middle - 1 + rng.Below(2));
      if (plain.rests_at == 0) continue;
      const float rest = static_cast<float>(rng.Below(7)) / 8 - 3.0f / 8;
      std::memcpy(begin + plain.rests_at + i * sizeof(rest), &rest, sizeof(rest));
    }
  }
  if (plain.form != CodeForm::kPlain) matrix.DrawTableScales(static_cast<float>(scale), rng);
  return matrix;
}

// Near `scale`, in the frame that matrices with such scales have.
void TiledMatrix::DrawTableScales(float scale, Rng& rng) {
  const ScaleType type = scheme_.scale_type();
  std::vector<float> wanted(shape_.count());
  for (float& one : wanted) one = scale * static_cast<float>(1 + rng.Uniform());
  if (type == ScaleType::kDynamic8) frame_ = ChooseNested(wanted);
  if (type == ScaleType::kE4m3) frame_.divisor = kLargestE4m3 / (2 * scale);
  frame_.exponent = exponent_ = ChooseExponent(wanted, type);
  scales_.resize(wanted.size() * ScaleBytes(type));
  for (size_t i = 0; i < wanted.size(); ++i)
    StoreScale(wanted[i], type, frame_.UnitOf(i), &scales_[i * ScaleBytes(type)]);
  SetTableFactors();
}

// What the panels have beside the codes of a table.
void TiledMatrix::SetTableFactors() {
  const bool looked = plain_.form == CodeForm::kLooked;
  const WholeLevels whole = looked ? WholeLevelsOf(scheme_.format->levels) : WholeLevels{1, {}, 0};
  level_unit_ = whole.unit;
  for (size_t row = 0; row < rows(); ++row) {
    uint8_t* panel = data_.get() + row / kPanelRows * plain_.panel_bytes;
    for (size_t g = 0; g < plain_.groups; ++g) {
      const float scale = StoredScale(row, g) * whole.unit;
      const size_t at = g * kPanelRows + row % kPanelRows;
      std::memcpy(panel + plain_.scales_at + at * sizeof(scale), &scale, sizeof(scale));
      if (looked) panel[plain_.zeros_at + at] = whole.zero;
    }
  }
}

uint8_t* TiledMatrix::Block(size_t panel, size_t group, size_t block) const {
  const size_t terms = group * plain_.steps * plain_.step + block * kBlockTerms;
  return data_.get() + panel * plain_.panel_bytes +
         terms * kPanelRows * static_cast<size_t>(plain_.bits) / 8;
}

void TiledMatrix::SetCodes(size_t row, size_t group, std::span<const uint8_t> codes) {
  const size_t panel = row / kPanelRows, output = row % kPanelRows;
  for (size_t k = 0; k < codes.size(); ++k) {
    SetCode(Block(panel, group, k / kBlockTerms), plain_.bits,
            Find(plain_.form, output, k % kBlockTerms), codes[k] ^ turned_);
  }
}

void TiledMatrix::SetFactors(size_t row, size_t group, uint16_t scale, float zero) {
  uint8_t* begin = data_.get() + row / kPanelRows * plain_.panel_bytes;
  const size_t at = group * kPanelRows + row % kPanelRows;
  std::memcpy(begin + plain_.scales_at + at * sizeof(scale), &scale, sizeof(scale));
  const float code =
      std::clamp(std::nearbyint(zero), 0.0f, static_cast<float>((1 << scheme_.bits) - 1));
  begin[plain_.zeros_at + at] = static_cast<uint8_t>(code);
  if (plain_.rests_at == 0) return;
  const float rest = zero - code;  // exact: zero is an FP16 number
  std::memcpy(begin + plain_.rests_at + at * sizeof(rest), &rest, sizeof(rest));
}

void TiledMatrix::GetCodes(size_t row, std::span<uint8_t> codes) const {
  GetStoredCodes(row, codes);
  if (turned_ == 0) return;
  for (uint8_t& code : codes) code ^= turned_;
}

void TiledMatrix::GetStoredCodes(size_t row, std::span<uint8_t> codes) const {
  if (plain_.form == CodeForm::kCodebook) return GetCodebookCodes(row, codes);
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

// Eight inputs at a time: four in the low halves of bytes, four in the high ones.
void TiledMatrix::GetCodebookCodes(size_t row, std::span<uint8_t> codes) const {
  const uint8_t* line =
      plain_.panels + row / kPanelRows * plain_.panel_bytes + CodebookByte(row % kPanelRows, 0);
  for (size_t g = 0; g < plain_.groups; ++g) {
    const size_t terms = TermsOf(plain_, g), filled = StepsOf(plain_, g) * plain_.step;
    uint8_t* group = &codes[g * plain_.group];
    for (size_t first = 0; first < filled; first += 2 * kDotTerms, line += kRowBytes) {
      const auto code = [&](unsigned k) { return uint64_t{line[k * kPanelRows]} << (8 * k); };
      const uint64_t four = code(0) | code(1) | code(2) | code(3);
      const uint64_t eight = (four | four << 28) & 0x0f0f0f0f0f0f0f0fu;
      if (first + sizeof(eight) <= terms) {
        std::memcpy(group + first, &eight, sizeof(eight));  // of a size that the compiler knows
      } else if (first < terms) {
        std::memcpy(group + first, &eight, terms - first);
      }
    }
  }
}

TiledMatrix::Factors TiledMatrix::GroupFactors(size_t row, size_t group) const {
  const uint8_t* begin = plain_.panels + row / kPanelRows * plain_.panel_bytes;
  const size_t at = group * kPanelRows + row % kPanelRows;
  uint16_t scale = 0;
  float rest = 0;
  std::memcpy(&scale, begin + plain_.scales_at + at * sizeof(scale), sizeof(scale));
  if (plain_.rests_at > 0)
    std::memcpy(&rest, begin + plain_.rests_at + at * sizeof(rest), sizeof(rest));
  return {std::ldexp(HalfToFloat(scale), exponent_),
          static_cast<float>(begin[plain_.zeros_at + at]) + rest};
}

float TiledMatrix::StoredScale(size_t row, size_t group) const {
  const ScaleType type = scheme_.scale_type();
  const size_t at = shape_.RowOf(row) * shape_.cols + group;
  return LoadScale(&scales_[at * ScaleBytes(type)], type, frame_.UnitOf(at));
}

// By the panel, which has it times a power of two, unless that may be where FP32 ends.
float TiledMatrix::TableScale(size_t row, size_t group) const {
  float scale;
  std::memcpy(&scale,
              plain_.panels + row / kPanelRows * plain_.panel_bytes + plain_.scales_at +
                  (group * kPanelRows + row % kPanelRows) * sizeof(scale),
              sizeof(scale));
  return std::fabs(scale) > 0x1p-100f ? scale / level_unit_ : StoredScale(row, group);
}

Grid TiledMatrix::GroupGrid(size_t row, size_t group) const {
  const auto [scale, zero] = GroupFactors(row, group);
  if (turned_ != 0) return {scale, scheme_};
  if (plain_.rests_at > 0) return {scale, zero, scheme_};
  return {Affine{scale, static_cast<int>(zero)}, scheme_};
}

PackedMatrix TiledMatrix::Unpack() const {
  PackedMatrix packed(rows(), cols(), scheme_);
  packed.set_exponent(exponent_);
  std::vector<uint8_t> codes(cols());
  for (size_t row = 0; row < rows(); ++row) {
    GetCodes(row, codes);
    packed.SetCodes(row, codes);
    if (plain_.form != CodeForm::kPlain || row % shape_.rows_each != 0) continue;
    for (size_t g = 0; g < shape_.cols; ++g)
      packed.set_grid(shape_.RowOf(row), g, GroupGrid(row, g));
  }
  packed.set_order(order_);
  if (plain_.form == CodeForm::kPlain) return packed;
  packed.set_frame(frame_);
  const std::vector<uint8_t> stored(packed.codes().begin(), packed.codes().end());
  QR_CHECK(packed.SetStored(stored, scales_, {}));
  return packed;
}

void TiledMatrix::DecodeRows(size_t first, MatrixView<float> values) const {
  QR_CHECK_EQ(values.cols(), cols());
  QR_CHECK_LE(first + values.rows(), rows());
  const VectorOps& ops = Ops();
  std::vector<uint8_t> codes(cols());
  std::vector<float> by_position(order_.size());
  for (size_t r = 0; r < values.rows(); ++r) {
    GetStoredCodes(first + r, codes);
    float* decoded = order_.empty() ? values.row(r) : by_position.data();
    for (size_t g = 0; g < plain_.groups; ++g) {
      const size_t begin = shape_.Begin(g), size = shape_.Size(g);
      if (plain_.form != CodeForm::kPlain) {
        ops.look_up(&codes[begin], size, levels(), TableScale(first + r, g), decoded + begin);
        continue;
      }
      const auto [scale, zero] = GroupFactors(first + r, g);
      ops.decode_codes(&codes[begin], size, scale, zero, decoded + begin);
    }
    for (size_t p = 0; p < order_.size(); ++p) values(r, order_[p]) = decoded[p];
  }
}

// Scales and zero points of a panel's outputs, for what codes stand for in the panel; of outputs
// beyond the last the scale is 0.
void TiledMatrix::GetFactors(size_t panel, size_t group, float* scales, float* zeros) const {
  const size_t count = std::min(kPanelRows, rows() - panel * kPanelRows);
  std::fill_n(scales, kPanelRows, 0.0f);
  std::fill_n(zeros, kPanelRows, 0.0f);
  for (size_t i = 0; i < count; ++i) {
    const size_t row = panel * kPanelRows + i;
    if (plain_.form == CodeForm::kPlain) {
      const auto [scale, zero] = GroupFactors(row, group);
      scales[i] = scale;
      zeros[i] = zero;
    } else {
      scales[i] = TableScale(row, group);
    }
  }
}

void TiledMatrix::DecodeInputs(size_t panel, std::span<const uint32_t> positions,
                               float* values) const {
  const bool table = plain_.form != CodeForm::kPlain;
  float scales[kPanelRows], zeros[kPanelRows];
  size_t group = plain_.groups;  // none yet
  for (const uint32_t position : positions) {
    if (position / plain_.group != group) {
      group = position / plain_.group;
      GetFactors(panel, group, scales, zeros);
    }
    const size_t k = position % plain_.group;
    const uint8_t* block = Block(panel, group, k / kBlockTerms);
    for (size_t i = 0; i < kPanelRows; ++i) {
      const unsigned code = CodeAt(block, plain_.bits, Find(plain_.form, i, k % kBlockTerms));
      *values++ = scales[i] * (table ? levels_[code] : static_cast<float>(code) - zeros[i]);
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
