#include "harness/quant/packed_matrix.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>
#include <utility>

#include "harness/base/check.h"
#include "harness/base/half.h"
#include "harness/base/sha256.h"
#include "harness/quant/grid.h"

namespace quantref {
namespace {

constexpr size_t kReadBeyond = 8;  // decoders load whole 64-bit words

size_t RowBytes(size_t cols, const WeightScheme& scheme) {
  return (cols * static_cast<size_t>(scheme.bits) + 7) / 8;
}

size_t ZeroBytes(const WeightScheme& scheme) {
  if (!scheme.HasZeros()) return 0;
  return scheme.format->zero == ZeroKind::kHalf ? sizeof(uint16_t) : sizeof(uint8_t);
}

uint16_t HalfAt(const uint8_t* bytes) {
  uint16_t half = 0;
  std::memcpy(&half, bytes, sizeof(half));
  return half;
}

}  // namespace

ScaleShape ShapeOfScales(size_t rows, size_t cols, const WeightScheme& scheme) {
  QR_CHECK(rows > 0 && cols > 0);
  switch (scheme.granularity) {
    case Granularity::kTensor:
      return {1, 1, rows, cols, cols};
    case Granularity::kRow:
      return {rows, 1, 1, cols, cols};
    case Granularity::kColumn:
      return {1, cols, rows, 1, cols};
    case Granularity::kGroup: {
      QR_CHECK(scheme.group > 0);
      const size_t group = std::min(scheme.group, cols);
      return {rows, (cols + group - 1) / group, 1, group, cols};
    }
  }
  QR_CHECK(false);
  return {};
}

size_t PackedStorageBits(size_t rows, size_t cols, const WeightScheme& scheme, bool ordered) {
  const size_t scales = ShapeOfScales(rows, cols, scheme).count();
  const size_t scale_bits = 8 * ScaleBytes(scheme.scale_type());
  const size_t zero_bits = scheme.format->affine() && scheme.HasZeros()
                               ? static_cast<size_t>(scheme.bits)
                               : 8 * ZeroBytes(scheme);
  const size_t order_bits = ordered ? cols * static_cast<size_t>(std::bit_width(cols - 1)) : 0;
  return rows * RowBytes(cols, scheme) * 8 + scales * (scale_bits + zero_bits) +
         FrameBits(scheme.scale_type(), scales) + order_bits;
}

namespace {

// "int4 g128 asym", "nf4 g64", "float_zero4 g64"
std::string HashedCodes(const WeightScheme& scheme) {
  const char* const kReaches[] = {"tensor", "row", "column"};
  const std::string reach = scheme.granularity == Granularity::kGroup
                                ? fmt::format("g{}", scheme.group)
                                : kReaches[static_cast<size_t>(scheme.granularity)];
  if (scheme.format->affine()) {
    const char* range = scheme.symmetric ? (scheme.full_range ? "sym full" : "sym")
                                         : (scheme.zero_in_range ? "asym" : "asym min-max");
    return fmt::format("int{} {} {}", scheme.bits, reach, range);
  }
  const std::string bits = scheme.format->evenly_spaced() ? std::to_string(scheme.bits) : "";
  return fmt::format("{}{} {}", scheme.format->name, bits, reach);
}

}  // namespace

std::string HashedForm(const WeightScheme& scheme) {
  return HashedCodes(scheme) + (scheme.double_quant ? " dq" : "");
}

std::string HashedScheme(const WeightScheme& scheme) {
  std::string text = HashedCodes(scheme);
  if (scheme.format->affine()) return text;
  text += fmt::format(" {}", ScaleTypeName(scheme.scale_type()));
  if (scheme.format->evenly_spaced()) return text;
  std::vector<float> levels;
  for (size_t code = 0; code < scheme.format->levels.size(); ++code)
    levels.push_back(scheme.format->levels[code]);
  return text + " " + Sha256Hex(std::span<const float>(levels));
}

PackedMatrix::PackedMatrix(size_t rows, size_t cols, const WeightScheme& scheme)
    : scheme_(scheme),
      rows_(rows),
      cols_(cols),
      shape_(ShapeOfScales(rows, cols, scheme)),
      row_bytes_(RowBytes(cols, scheme)) {
  QR_CHECK(scheme.bits >= kMinBits && scheme.bits <= kMaxBits);
  if (!scheme.format->evenly_spaced()) QR_CHECK_EQ(scheme.bits, scheme.format->bits());
  codes_.resize(rows * row_bytes_ + kReadBeyond);
  scales_.resize(shape_.count() * ScaleBytes(scheme.scale_type()));
  zeros_.resize(shape_.count() * ZeroBytes(scheme));
}

size_t PackedMatrix::ScaleIndex(size_t scale_row, size_t scale_col) const {
  QR_DCHECK_LT(scale_row, shape_.rows);
  QR_DCHECK_LT(scale_col, shape_.cols);
  return scale_row * shape_.cols + scale_col;
}

Grid PackedMatrix::grid(size_t scale_row, size_t scale_col) const {
  if (scheme_.format->affine()) return {affine(scale_row, scale_col), scheme_};
  const size_t i = ScaleIndex(scale_row, scale_col);
  if (!scheme_.format->evenly_spaced()) return {Scale(i), scheme_};
  return {Scale(i), HalfToFloat(HalfAt(&zeros_[i * sizeof(uint16_t)])), scheme_};
}

void PackedMatrix::set_grid(size_t scale_row, size_t scale_col, const Grid& grid) {
  if (scheme_.format->affine()) return set_affine(scale_row, scale_col, grid.affine());
  const size_t i = ScaleIndex(scale_row, scale_col);
  SetScale(i, grid.divisor());
  if (!scheme_.format->evenly_spaced()) return;
  const uint16_t zero = FloatToHalf(grid.zero());
  std::memcpy(&zeros_[i * sizeof(zero)], &zero, sizeof(zero));
}

Affine PackedMatrix::affine(size_t scale_row, size_t scale_col) const {
  const size_t i = ScaleIndex(scale_row, scale_col);
  return {Scale(i), scheme_.symmetric ? 1 << (scheme_.bits - 1) : zeros_[i]};
}

void PackedMatrix::set_affine(size_t scale_row, size_t scale_col, const Affine& affine) {
  const size_t i = ScaleIndex(scale_row, scale_col);
  SetScale(i, affine.scale);
  if (scheme_.symmetric) {
    QR_DCHECK_EQ(affine.zero, 1 << (scheme_.bits - 1));
  } else {
    QR_DCHECK(affine.zero >= 0 && affine.zero < 1 << scheme_.bits);
    zeros_[i] = static_cast<uint8_t>(affine.zero);
  }
}

float PackedMatrix::Scale(size_t i) const {
  const ScaleType type = scheme_.scale_type();
  return LoadScale(&scales_[i * ScaleBytes(type)], type, frame_.UnitOf(i));
}

void PackedMatrix::SetScale(size_t i, float scale) {
  const ScaleType type = scheme_.scale_type();
  StoreScale(scale, type, frame_.UnitOf(i), &scales_[i * ScaleBytes(type)]);
}

void PackedMatrix::set_exponent(int exponent) {
  QR_CHECK(-kMostExponent <= exponent && exponent <= kMostExponent);
  frame_.exponent = exponent;
}

void PackedMatrix::set_frame(ScaleFrame frame) {
  set_exponent(frame.exponent);
  if (scheme_.double_quant)
    QR_CHECK_EQ(frame.absmax.size(), (shape_.count() + kNestedBlock - 1) / kNestedBlock);
  frame_ = std::move(frame);
}

void PackedMatrix::set_order(std::vector<uint32_t> order) {
  if (!order.empty()) QR_CHECK_EQ(order.size(), cols_);
  std::vector<bool> seen(order.size());
  for (const uint32_t column : order) {
    QR_CHECK_LT(column, cols_);
    QR_CHECK(!seen[column]);
    seen[column] = true;
  }
  order_ = std::move(order);
}

void PackedMatrix::GetCodes(size_t row, std::span<uint8_t> codes) const {
  QR_CHECK_EQ(codes.size(), cols_);
  const uint8_t* packed = packed_row(row);
  const size_t bits = static_cast<size_t>(scheme_.bits);
  for (size_t j = 0; j < cols_; ++j) {
    const size_t at = j * bits;
    const unsigned pair = packed[at / 8] | static_cast<unsigned>(packed[at / 8 + 1]) << 8;
    codes[j] = static_cast<uint8_t>(pair >> (at % 8) & ((1u << bits) - 1));
  }
}

void PackedMatrix::SetCodes(size_t row, std::span<const uint8_t> codes) {
  QR_CHECK_EQ(codes.size(), cols_);
  uint8_t* packed = codes_.data() + row * row_bytes_;
  unsigned buffer = 0, filled = 0;
  for (uint8_t code : codes) {
    QR_DCHECK(code < 1u << scheme_.bits);
    buffer |= static_cast<unsigned>(code) << filled;
    filled += static_cast<unsigned>(scheme_.bits);
    for (; filled >= 8; filled -= 8, buffer >>= 8) *packed++ = static_cast<uint8_t>(buffer & 0xff);
  }
  if (filled > 0) *packed = static_cast<uint8_t>(buffer & 0xff);
}

void PackedMatrix::DecodeRow(size_t row, std::span<float> values) const {
  QR_CHECK_EQ(values.size(), cols_);
  std::vector<uint8_t> codes(cols_);
  GetCodes(row, codes);
  for (size_t j = 0; j < cols_; ++j) {
    const float value = grid(shape_.RowOf(row), shape_.ColOf(j)).Decode(codes[j]);
    values[order_.empty() ? j : order_[j]] = value;
  }
}

bool PackedMatrix::SetStored(std::span<const uint8_t> codes, std::span<const uint8_t> scales,
                             std::span<const uint8_t> zeros) {
  if (codes.size() != rows_ * row_bytes_ || scales.size() != scales_.size() ||
      zeros.size() != zeros_.size())
    return false;
  const ScaleType type = scheme_.scale_type();
  for (size_t i = 0; i < shape_.count(); ++i) {
    const float scale = LoadScale(&scales[i * ScaleBytes(type)], type, frame_.UnitOf(i));
    if (!std::isfinite(scale) || (scale < 0 && !scheme_.double_quant)) return false;
    if (zeros.empty()) continue;
    const bool is_zero = scheme_.format->affine()
                             ? zeros[i] < 1 << scheme_.bits
                             : std::isfinite(HalfToFloat(HalfAt(&zeros[i * sizeof(uint16_t)])));
    if (!is_zero) return false;
  }
  std::copy(codes.begin(), codes.end(), codes_.begin());
  std::copy(scales.begin(), scales.end(), scales_.begin());
  std::copy(zeros.begin(), zeros.end(), zeros_.begin());
  return true;
}

size_t PackedMatrix::StorageBits() const {
  return PackedStorageBits(rows_, cols_, scheme_, !order_.empty()) +
         (exponent() != 0 ? kExponentBits : 0);
}

double PackedMatrix::EffectiveBits() const {
  return static_cast<double>(StorageBits()) / static_cast<double>(rows_ * cols_);
}

std::vector<float> PackedMatrix::FrameNumbers() const {
  std::vector<float> numbers;
  if (scheme_.scale_type() == ScaleType::kE4m3) numbers.push_back(frame_.divisor);
  if (!scheme_.double_quant) return numbers;
  numbers.push_back(frame_.mean);
  numbers.insert(numbers.end(), frame_.absmax.begin(), frame_.absmax.end());
  return numbers;
}

// The same with the columns of each group in ascending order.
PackedMatrix PackedMatrix::Ascending() const {
  std::vector<uint32_t> by(cols_), order;  // positions, in their new order
  std::iota(by.begin(), by.end(), 0u);
  std::ranges::sort(by, {}, [&](uint32_t p) { return std::pair(shape_.ColOf(p), order_[p]); });
  for (const uint32_t p : by) order.push_back(order_[p]);
  PackedMatrix sorted = *this;
  std::vector<uint8_t> codes(cols_), moved(cols_);
  for (size_t row = 0; row < rows_; ++row) {
    GetCodes(row, codes);
    for (size_t i = 0; i < cols_; ++i) moved[i] = codes[by[i]];
    sorted.SetCodes(row, moved);
  }
  sorted.set_order(std::ranges::is_sorted(order) ? std::vector<uint32_t>{} : std::move(order));
  return sorted;
}

std::string PackedMatrix::Sha256() const {
  return order_.empty() ? StoredSha256() : Ascending().StoredSha256();
}

std::string PackedMatrix::StoredSha256() const {
  Sha256Stream sha;
  const std::vector<float> frame = FrameNumbers();
  std::string head = fmt::format("{} {} {}\n", rows_, cols_, HashedScheme(scheme_));
  if (exponent() != 0) head += fmt::format("2^{}\n", exponent());
  sha.Update(head.data(), head.size());
  sha.Update(codes_.data(), rows_ * row_bytes_);
  sha.Update(scales_.data(), scales_.size());
  sha.Update(zeros_.data(), zeros_.size());
  sha.Update(order_.data(), order_.size() * sizeof(order_[0]));
  sha.Update(frame.data(), frame.size() * sizeof(frame[0]));
  return sha.HexDigest();
}

}  // namespace quantref
