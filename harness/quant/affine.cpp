#include "harness/quant/affine.h"

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

// To nearest, ties to even, for |x| < 2^22: std::nearbyint without SSE4.1 is a call.
float RoundSmall(float x) { return (x + 0x1.8p23f) - 0x1.8p23f; }

float Cut(float weight, float limit) { return std::clamp(weight, -limit, limit); }

// One limit for each scale, in the layout of the grid's.
void CheckLimits(MatrixView<const float> limits, const PackedMatrix& grid) {
  if (limits.empty()) return;
  QR_CHECK_EQ(limits.rows(), grid.scale_rows());
  QR_CHECK_EQ(limits.cols(), grid.scale_cols());
}

// The ranges of every scale of the matrix, in the order of PackedMatrix's scales.
std::vector<ValueRange> FindRanges(MatrixView<const float> weights, MatrixView<const float> limits,
                                   const PackedMatrix& grid) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::vector<ValueRange> ranges(grid.scale_rows() * grid.scale_cols(), {kInfinity, -kInfinity});
  for (size_t r = 0; r < weights.rows(); ++r) {
    ValueRange* row_ranges = &ranges[r / grid.rows_per_scale() * grid.scale_cols()];
    for (size_t c = 0; c < weights.cols(); ++c) {
      const float w = weights(r, c);
      if (!std::isfinite(w)) {
        throw Error(fmt::format("expected finite weights, found {} at row {}, column {}", w, r, c),
                    "weights");
      }
      ValueRange& range = row_ranges[c / grid.cols_per_scale()];
      range.lo = std::min(range.lo, w);
      range.hi = std::max(range.hi, w);
    }
  }
  for (size_t i = 0; i < ranges.size() && !limits.empty(); ++i) {
    const float limit = limits(i / grid.scale_cols(), i % grid.scale_cols());
    ranges[i] = {Cut(ranges[i].lo, limit), Cut(ranges[i].hi, limit)};
  }
  return ranges;
}

// The range as the scheme spans it, and what its scale should be before it is rounded.
float WantedScale(ValueRange& range, const WeightScheme& scheme) {
  if (scheme.symmetric) {
    const int middle = 1 << (scheme.bits - 1);
    const float absmax = std::max(std::fabs(range.lo), std::fabs(range.hi));
    return absmax / static_cast<float>(scheme.full_range ? middle : middle - 1);
  }
  if (scheme.zero_in_range || range.lo == range.hi)
    range = {std::min(range.lo, 0.0f), std::max(range.hi, 0.0f)};
  return (range.hi - range.lo) / static_cast<float>((1 << scheme.bits) - 1);
}

int ChooseExponent(const std::vector<ValueRange>& ranges, const WeightScheme& scheme) {
  constexpr int kLeastNormal = -14, kMostShifted = 11;  // logarithms of FP16 numbers
  float least = std::numeric_limits<float>::infinity(), most = 0;
  for (ValueRange range : ranges) {
    const float wanted = WantedScale(range, scheme);
    if (wanted > 0) least = std::min(least, wanted);
    most = std::max(most, wanted);
  }
  if (most == 0 || std::ilogb(least) >= kLeastNormal) return 0;
  const int shift =
      std::min({kLeastNormal - std::ilogb(least), kMostShifted - std::ilogb(most), kMostExponent});
  if (std::ilogb(most) + shift < kLeastNormal) {
    throw Error(fmt::format("a scale of {} does not fit FP16 times 2^-{} (at least {})", most,
                            kMostExponent, std::ldexp(1.0, kLeastNormal - kMostExponent)),
                "weights");
  }
  return -std::max(shift, 0);
}

}  // namespace

CodeRange Codes(const WeightScheme& scheme) {
  const int top = (1 << scheme.bits) - 1;
  return {scheme.symmetric && !scheme.full_range ? 1 : 0, top};
}

Affine ChooseAffine(ValueRange range, const WeightScheme& scheme, int exponent) {
  const float wanted = WantedScale(range, scheme);
  const float half = RoundToHalf(std::ldexp(wanted, -exponent));
  if (!(half <= kMaxHalf)) {  // a NaN too
    throw Error(fmt::format("a scale of {} does not fit FP16 (at most {})", wanted,
                            std::ldexp(kMaxHalf, exponent)),
                "weights");
  }
  const float scale = std::ldexp(half, exponent);
  if (scheme.symmetric) return {scale, 1 << (scheme.bits - 1)};
  if (scale == 0) return {0, 0};
  const float top = static_cast<float>((1 << scheme.bits) - 1);
  return {scale, static_cast<int>(std::clamp(std::nearbyint(-range.lo / scale), 0.0f, top))};
}

int Encode(float weight, const Affine& affine, CodeRange range) {
  if (affine.scale == 0) return affine.zero;
  // Clamped before it is rounded, which is the same between whole numbers: the quotient may be
  // beyond an int.
  const float lowest = static_cast<float>(range.min - affine.zero);
  const float highest = static_cast<float>(range.max - affine.zero);
  return static_cast<int>(RoundSmall(std::clamp(weight / affine.scale, lowest, highest))) +
         affine.zero;
}

void ChooseGrids(MatrixView<const float> weights, MatrixView<const float> limits,
                 PackedMatrix& packed) {
  CheckLimits(limits, packed);
  const std::vector<ValueRange> ranges = FindRanges(weights, limits, packed);
  packed.set_exponent(ChooseExponent(ranges, packed.scheme()));
  for (size_t i = 0; i < ranges.size(); ++i) {
    packed.set_affine(i / packed.scale_cols(), i % packed.scale_cols(),
                      ChooseAffine(ranges[i], packed.scheme(), packed.exponent()));
  }
}

PackedMatrix RoundToNearest(MatrixView<const float> weights, const WeightScheme& scheme,
                            MatrixView<const float> limits) {
  PackedMatrix packed(weights.rows(), weights.cols(), scheme);
  ChooseGrids(weights, limits, packed);
  const CodeRange range = Codes(scheme);
  std::vector<uint8_t> codes(weights.cols());
  for (size_t r = 0; r < weights.rows(); ++r) {
    const size_t scale_row = r / packed.rows_per_scale();
    for (size_t s = 0, c = 0; s < packed.scale_cols(); ++s) {
      const Affine affine = packed.affine(scale_row, s);
      const float limit =
          limits.empty() ? std::numeric_limits<float>::infinity() : limits(scale_row, s);
      for (const size_t end = c + packed.cols_per_scale(); c < end; ++c) {
        codes[c] = static_cast<uint8_t>(Encode(Cut(weights(r, c), limit), affine, range));
      }
    }
    packed.SetCodes(r, codes);
  }
  return packed;
}

}  // namespace quantref
