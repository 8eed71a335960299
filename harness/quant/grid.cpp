#include "harness/quant/grid.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/base/half.h"

namespace quantref {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

float Cut(float weight, float limit) { return std::clamp(weight, -limit, limit); }

float AbsMaxOf(const ValueRange& range) {
  return std::max(std::fabs(range.lo), std::fabs(range.hi));
}

// One limit for each scale, in the layout of the matrix's.
void CheckLimits(MatrixView<const float> limits, const ScaleShape& shape) {
  if (limits.empty()) return;
  QR_CHECK_EQ(limits.rows(), shape.rows);
  QR_CHECK_EQ(limits.cols(), shape.cols);
}

float LimitOf(MatrixView<const float> limits, size_t scale_row, size_t scale_col) {
  return limits.empty() ? kInfinity : limits(scale_row, scale_col);
}

// The ranges of every scale of the matrix, in the order of PackedMatrix's scales.
std::vector<ValueRange> FindRanges(MatrixView<const float> weights, MatrixView<const float> limits,
                                   const ScaleShape& shape) {
  std::vector<ValueRange> ranges(shape.count(), {kInfinity, -kInfinity});
  for (size_t r = 0; r < weights.rows(); ++r) {
    ValueRange* row_ranges = &ranges[shape.RowOf(r) * shape.cols];
    for (size_t c = 0; c < weights.cols(); ++c) {
      const float w = weights(r, c);
      if (!std::isfinite(w)) {
        throw Error(fmt::format("expected finite weights, found {} at row {}, column {}", w, r, c),
                    "weights");
      }
      ValueRange& range = row_ranges[shape.ColOf(c)];
      range.lo = std::min(range.lo, w);
      range.hi = std::max(range.hi, w);
    }
  }
  for (size_t i = 0; i < ranges.size() && !limits.empty(); ++i) {
    const float limit = limits(i / shape.cols, i % shape.cols);
    ranges[i] = {Cut(ranges[i].lo, limit), Cut(ranges[i].hi, limit)};
  }
  return ranges;
}

// The same with the means of the magnitudes.
std::vector<ValueRange> FindMeans(MatrixView<const float> weights, MatrixView<const float> limits,
                                  const ScaleShape& shape) {
  std::vector<RangeFinder> finders(shape.count());
  for (size_t r = 0; r < weights.rows(); ++r) {
    const size_t row = shape.RowOf(r);
    for (size_t c = 0; c < weights.cols(); ++c) {
      const size_t col = shape.ColOf(c);
      finders[row * shape.cols + col].Add(Cut(weights(r, c), LimitOf(limits, row, col)));
    }
  }
  std::vector<ValueRange> ranges(finders.size());
  std::transform(finders.begin(), finders.end(), ranges.begin(),
                 [](const RangeFinder& finder) { return finder.Range(); });
  return ranges;
}

// 2^(floor(log2 x)) for x > 0.
float PowerBelow(float x) { return std::ldexp(1.0f, std::ilogb(x)); }

// Of a float zero: the range from one end to the other, but with 0 in it where all weights are
// equal, or where 0 lies so far from them that the zero would leave FP16's precise numbers.
ValueRange SpannedByHalf(const ValueRange& range, const WeightScheme& scheme) {
  constexpr float kMostZero = 0x1p15f;
  const float width = range.hi - range.lo, top = static_cast<float>((1 << scheme.bits) - 1);
  if (width > 0 && AbsMaxOf(range) * top <= kMostZero * width) return range;
  return {std::min(range.lo, 0.0f), std::max(range.hi, 0.0f)};
}

// What the scale of the range should be, before it is rounded.
float WantedScale(const ValueRange& range, const WeightScheme& scheme) {
  const NumberFormat& format = *scheme.format;
  if (format.affine()) return AffineScale(range, scheme);
  if (format.evenly_spaced()) {
    const ValueRange spanned = SpannedByHalf(range, scheme);
    return (spanned.hi - spanned.lo) / static_cast<float>((1 << scheme.bits) - 1);
  }
  const float absmax = AbsMaxOf(range), largest = format.levels.Largest();
  switch (format.rule) {
    case ScaleRule::kAbsMax:
      return absmax / largest;
    case ScaleRule::kPower:
      // Beyond FP32 as it is: it is refused.
      return absmax > 0 && std::isfinite(absmax) ? PowerBelow(absmax) / PowerBelow(largest)
                                                 : absmax;
    case ScaleRule::kAbsMean:
      return range.mean_magnitude;
  }
  QR_CHECK(false);
  return 0;
}

}  // namespace

Grid::Grid(const Affine& affine, const WeightScheme& scheme)
    : affine_(affine), codes_(Codes(scheme)) {
  QR_DCHECK(scheme.format->affine());
}

Grid::Grid(float scale, const WeightScheme& scheme)
    : levels_(&scheme.format->levels), by_inverse_(scheme.format->by_inverse), affine_{scale, 0} {
  QR_DCHECK(!scheme.format->evenly_spaced());
  *this = DividingBy(scale);
}

Grid::Grid(float scale, float zero, const WeightScheme& scheme)
    : has_float_zero_(true),
      affine_{scale, 0},
      codes_{0, (1 << scheme.bits) - 1},
      zero_(zero),
      divisor_(scale) {
  QR_DCHECK(scheme.format->evenly_spaced() && scheme.format->zero == ZeroKind::kHalf);
}

Grid Grid::DividingBy(float divisor) const {
  constexpr float kLeast = 1e-38f;  // its inverse is finite
  Grid grid = *this;
  grid.divisor_ = divisor;
  grid.inverse_ = 1 / (std::fabs(divisor) < kLeast ? kLeast : divisor);
  return grid;
}

Grid::Point Grid::NearestLevel(float weight) const {
  float quotient = 0;
  if (divisor_ != 0) quotient = by_inverse_ ? weight * inverse_ : weight / divisor_;
  const size_t code = levels_->Nearest(quotient);
  return {static_cast<int>(code), affine_.scale * (*levels_)[code]};
}

Grid::Point Grid::NearestEven(float weight) const {
  if (affine_.scale == 0) return {0, Decode(0)};
  // Clamped before it is rounded, as Encode.
  const float top = static_cast<float>(codes_.max);
  const int code =
      static_cast<int>(RoundSmall(std::clamp(weight / affine_.scale + zero_, 0.0f, top)));
  return {code, Decode(code)};
}

ValueRange Grid::Reach() const {
  const float scale = affine_.scale;
  if (levels_ == nullptr) {
    const float half = scale / 2;
    return {Decode(codes_.min) - half, Decode(codes_.max) + half};
  }
  const size_t top = levels_->distinct() - 1;
  const auto beyond = [&](size_t end, size_t next) {
    const float level = levels_->Ranked(end);
    return scale * (level + (level - levels_->Ranked(next)) / 2);
  };
  const float first = beyond(0, 1), last = beyond(top, top - 1);
  return {std::min(first, last), std::max(first, last)};
}

Grid RoundedGrid(float scale, float zero, const WeightScheme& scheme, const ScaleUnit& unit) {
  const float half = RoundToHalf(zero) + 0.0f;  // kernels have codes for it, which have no -0
  if (!(std::fabs(half) <= kMaxHalf))
    throw Error(fmt::format("a zero of {} does not fit FP16 (at most {})", zero, kMaxHalf),
                "weights");
  return {RoundScale(scale, scheme.scale_type(), unit), half, scheme};
}

namespace {

// Of a range whose scale should be `wanted`.
Grid GridWanting(float wanted, const ValueRange& range, const WeightScheme& scheme,
                 const ScaleUnit& unit) {
  if (scheme.format->affine()) return {ChooseAffine(wanted, range, scheme, unit.exponent), scheme};
  const float scale = RoundScale(wanted, scheme.scale_type(), unit);
  if (scheme.format->evenly_spaced()) {
    const float zero = scale == 0 ? 0.0f : -SpannedByHalf(range, scheme).lo / scale;
    return RoundedGrid(scale, zero, scheme, unit);
  }
  const Grid grid(scale, scheme);
  return scheme.double_quant ? grid.DividingBy(wanted) : grid;
}

}  // namespace

Grid ChooseGrid(const ValueRange& range, const WeightScheme& scheme, const ScaleUnit& unit) {
  return GridWanting(WantedScale(range, scheme), range, scheme, unit);
}

float WidestRange(const WeightScheme& scheme, const ScaleUnit& unit) {
  const float half = LargestScale(scheme.scale_type(), unit) * 0.5f;
  if (!scheme.format->evenly_spaced()) return half * scheme.format->levels.Largest();
  return half * static_cast<float>(Codes(scheme).max - Codes(scheme).min);
}

float E4m3Divisor(float absmax, const WeightScheme& scheme) {
  const float divisor = kLargestE4m3 * scheme.format->levels.Largest() / absmax;
  if (absmax == 0) return 1;
  if (std::isfinite(divisor)) return divisor;
  throw Error(fmt::format("weights of at most {} are too small for E4M3 scales over an FP32 number",
                          absmax),
              "weights");
}

namespace {

// What the scales of a matrix are to be: the frame, and the grid of each in the order of
// PackedMatrix's scales.
struct ChosenGrids {
  ScaleFrame frame;
  std::vector<Grid> grids;
};

ScaleFrame ChooseFrame(const std::vector<ValueRange>& ranges, const WeightScheme& scheme) {
  const ScaleType type = scheme.scale_type();
  if (type == ScaleType::kE4m3) {
    float absmax = 0;
    for (const ValueRange& range : ranges) absmax = std::max(absmax, AbsMaxOf(range));
    return {.divisor = E4m3Divisor(absmax, scheme)};
  }
  std::vector<float> wanted(ranges.size());
  std::transform(ranges.begin(), ranges.end(), wanted.begin(),
                 [&](const ValueRange& range) { return WantedScale(range, scheme); });
  if (type == ScaleType::kDynamic8) return ChooseNested(wanted);
  return {.exponent = ChooseExponent(wanted, type)};
}

ChosenGrids FindGrids(MatrixView<const float> weights, const WeightScheme& scheme,
                      MatrixView<const float> limits, const ScaleShape& shape) {
  CheckLimits(limits, shape);
  std::vector<ValueRange> ranges = FindRanges(weights, limits, shape);
  if (scheme.format->rule == ScaleRule::kAbsMean) ranges = FindMeans(weights, limits, shape);
  ChosenGrids chosen{ChooseFrame(ranges, scheme), {}};
  chosen.grids.reserve(ranges.size());
  for (size_t i = 0; i < ranges.size(); ++i)
    chosen.grids.push_back(ChooseGrid(ranges[i], scheme, chosen.frame.UnitOf(i)));
  return chosen;
}

void SetGrids(const ChosenGrids& chosen, PackedMatrix& packed) {
  const size_t cols = packed.scale_cols();
  packed.set_frame(chosen.frame);
  for (size_t i = 0; i < chosen.grids.size(); ++i)
    packed.set_grid(i / cols, i % cols, chosen.grids[i]);
}

}  // namespace

void ChooseGrids(MatrixView<const float> weights, MatrixView<const float> limits,
                 PackedMatrix& packed) {
  SetGrids(FindGrids(weights, packed.scheme(), limits, packed.scales()), packed);
}

PackedMatrix RoundToNearest(MatrixView<const float> weights, const WeightScheme& scheme,
                            MatrixView<const float> limits) {
  PackedMatrix packed(weights.rows(), weights.cols(), scheme);
  const ScaleShape& shape = packed.scales();
  const ChosenGrids chosen = FindGrids(weights, scheme, limits, shape);
  SetGrids(chosen, packed);
  std::vector<uint8_t> codes(weights.cols());
  for (size_t r = 0; r < weights.rows(); ++r) {
    const size_t scale_row = shape.RowOf(r);
    for (size_t s = 0, c = 0; s < shape.cols; ++s) {
      const Grid grid = chosen.grids[scale_row * shape.cols + s];  // nothing written is part of it
      const float limit = LimitOf(limits, scale_row, s);
      for (const size_t end = shape.End(s); c < end; ++c) {
        codes[c] = static_cast<uint8_t>(grid.Nearest(Cut(weights(r, c), limit)).code);
      }
    }
    packed.SetCodes(r, codes);
  }
  return packed;
}

void RoundValues(MatrixView<const float> weights, const WeightScheme& scheme,
                 MatrixView<const float> limits, MatrixView<float> values) {
  QR_CHECK(values.rows() == weights.rows() && values.cols() == weights.cols());
  const ScaleShape shape = ShapeOfScales(weights.rows(), weights.cols(), scheme);
  const ChosenGrids chosen = FindGrids(weights, scheme, limits, shape);
  for (size_t r = 0; r < weights.rows(); ++r) {
    const size_t scale_row = shape.RowOf(r);
    for (size_t s = 0, c = 0; s < shape.cols; ++s) {
      const Grid grid = chosen.grids[scale_row * shape.cols + s];  // nothing written is part of it
      const float limit = LimitOf(limits, scale_row, s);
      for (const size_t end = shape.End(s); c < end; ++c)
        values(r, c) = grid.Nearest(Cut(weights(r, c), limit)).value;
    }
  }
}

namespace {

void RoundGroup(std::span<const float> group, const WeightScheme& scheme, const ScaleUnit& unit,
                std::span<float> values) {
  RangeFinder finder;
  bool finite = true;
  for (const float x : group) {
    finder.Add(x);
    finite = finite && std::isfinite(x);
  }
  const ValueRange range = finder.Range();
  const float wanted = WantedScale(range, scheme);
  if (!finite || !(wanted <= LargestScale(scheme.scale_type(), unit))) {
    std::fill(values.begin(), values.end(), std::numeric_limits<float>::quiet_NaN());
    return;
  }
  const Grid grid = GridWanting(wanted, range, scheme, unit);
  for (size_t i = 0; i < group.size(); ++i) values[i] = grid.Nearest(group[i]).value;
}

}  // namespace

void RoundRow(std::span<const float> row, const WeightScheme& scheme, const ScaleUnit& unit,
              std::span<float> values) {
  QR_CHECK_EQ(values.size(), row.size());
  QR_CHECK(scheme.granularity == Granularity::kRow || scheme.granularity == Granularity::kGroup);
  QR_CHECK(!scheme.double_quant);
  const ScaleShape shape = ShapeOfScales(1, row.size(), scheme);
  for (size_t s = 0; s < shape.cols; ++s) {
    RoundGroup(row.subspan(shape.Begin(s), shape.Size(s)), scheme, unit,
               values.subspan(shape.Begin(s), shape.Size(s)));
  }
}

}  // namespace quantref
