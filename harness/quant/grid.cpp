#include "harness/quant/grid.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "harness/base/check.h"
#include "harness/base/error.h"

namespace quantref {
namespace {

float Cut(float weight, float limit) { return std::clamp(weight, -limit, limit); }

// One limit for each scale, in the layout of the matrix's.
void CheckLimits(MatrixView<const float> limits, const ScaleShape& shape) {
  if (limits.empty()) return;
  QR_CHECK_EQ(limits.rows(), shape.rows);
  QR_CHECK_EQ(limits.cols(), shape.cols);
}

// The ranges of every scale of the matrix, in the order of PackedMatrix's scales.
std::vector<ValueRange> FindRanges(MatrixView<const float> weights, MatrixView<const float> limits,
                                   const ScaleShape& shape) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
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

// What the scale of the range should be, before it is rounded: of a table, the least that reaches
// both ends of the range with the level of the largest magnitude.
float WantedScale(ValueRange range, const WeightScheme& scheme) {
  if (scheme.format->affine()) return AffineScale(range, scheme);
  return std::max(std::fabs(range.lo), std::fabs(range.hi)) / scheme.format->levels.Largest();
}

}  // namespace

Grid::Grid(const Affine& affine, const WeightScheme& scheme)
    : affine_(affine), codes_(Codes(scheme)) {
  QR_DCHECK(scheme.format->affine());
}

Grid::Grid(float scale, const WeightScheme& scheme)
    : levels_(&scheme.format->levels), affine_{scale, 0} {
  QR_DCHECK(!scheme.format->affine());
}

Grid::Point Grid::NearestLevel(float weight) const {
  const float scale = affine_.scale;
  const size_t code = levels_->Nearest(scale == 0 ? 0.0f : weight / scale);
  return {static_cast<int>(code), scale * (*levels_)[code]};
}

ValueRange Grid::Reach() const {
  const float scale = affine_.scale;
  if (levels_ == nullptr) {
    return {quantref::Decode(codes_.min, affine_) - scale / 2,
            quantref::Decode(codes_.max, affine_) + scale / 2};
  }
  const size_t top = levels_->distinct() - 1;
  const auto beyond = [&](size_t end, size_t next) {
    const float level = levels_->Ranked(end);
    return scale * (level + (level - levels_->Ranked(next)) / 2);
  };
  return {beyond(0, 1), beyond(top, top - 1)};
}

Grid ChooseGrid(ValueRange range, const WeightScheme& scheme, int exponent) {
  if (scheme.format->affine()) return {ChooseAffine(range, scheme, exponent), scheme};
  return {RoundScale(WantedScale(range, scheme), scheme.format->scale, exponent), scheme};
}

float WidestRange(const WeightScheme& scheme, int exponent) {
  const float half = LargestScale(scheme.format->scale, exponent) * 0.5f;
  if (!scheme.format->affine()) return half * scheme.format->levels.Largest();
  return half * static_cast<float>(Codes(scheme).max - Codes(scheme).min);
}

namespace {

// What the scales of a matrix are to be: its exponent, and the grid of each in the order of
// PackedMatrix's scales.
struct ChosenGrids {
  int exponent;
  std::vector<Grid> grids;
};

ChosenGrids FindGrids(MatrixView<const float> weights, const WeightScheme& scheme,
                      MatrixView<const float> limits, const ScaleShape& shape) {
  CheckLimits(limits, shape);
  const std::vector<ValueRange> ranges = FindRanges(weights, limits, shape);
  std::vector<float> wanted(ranges.size());
  std::transform(ranges.begin(), ranges.end(), wanted.begin(),
                 [&](const ValueRange& range) { return WantedScale(range, scheme); });
  ChosenGrids chosen{ChooseExponent(wanted, scheme.format->scale), {}};
  for (const ValueRange& range : ranges)
    chosen.grids.push_back(ChooseGrid(range, scheme, chosen.exponent));
  return chosen;
}

}  // namespace

void ChooseGrids(MatrixView<const float> weights, MatrixView<const float> limits,
                 PackedMatrix& packed) {
  const ChosenGrids chosen = FindGrids(weights, packed.scheme(), limits, packed.scales());
  const size_t cols = packed.scale_cols();
  packed.set_exponent(chosen.exponent);
  for (size_t i = 0; i < chosen.grids.size(); ++i)
    packed.set_grid(i / cols, i % cols, chosen.grids[i]);
}

PackedMatrix RoundToNearest(MatrixView<const float> weights, const WeightScheme& scheme,
                            MatrixView<const float> limits) {
  PackedMatrix packed(weights.rows(), weights.cols(), scheme);
  ChooseGrids(weights, limits, packed);
  const ScaleShape& shape = packed.scales();
  std::vector<uint8_t> codes(weights.cols());
  for (size_t r = 0; r < weights.rows(); ++r) {
    const size_t scale_row = shape.RowOf(r);
    for (size_t s = 0, c = 0; s < shape.cols; ++s) {
      const Grid grid = packed.grid(scale_row, s);
      const float limit =
          limits.empty() ? std::numeric_limits<float>::infinity() : limits(scale_row, s);
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
      const Grid& grid = chosen.grids[scale_row * shape.cols + s];
      const float limit =
          limits.empty() ? std::numeric_limits<float>::infinity() : limits(scale_row, s);
      for (const size_t end = shape.End(s); c < end; ++c)
        values(r, c) = grid.Nearest(Cut(weights(r, c), limit)).value;
    }
  }
}

}  // namespace quantref
