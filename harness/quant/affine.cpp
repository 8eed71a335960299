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

// The ranges of every scale of the matrix, in the order of PackedMatrix's scales.
std::vector<ValueRange> FindRanges(MatrixView<const float> weights, const PackedMatrix& grid) {
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
  return ranges;
}

}  // namespace

CodeRange Codes(const WeightScheme& scheme) {
  const int top = (1 << scheme.bits) - 1;
  return {scheme.symmetric && !scheme.full_range ? 1 : 0, top};
}

Affine ChooseAffine(ValueRange range, const WeightScheme& scheme) {
  const int middle = 1 << (scheme.bits - 1);
  const float top = static_cast<float>((1 << scheme.bits) - 1);
  float wanted;
  if (scheme.symmetric) {
    const float absmax = std::max(std::fabs(range.lo), std::fabs(range.hi));
    wanted = absmax / static_cast<float>(scheme.full_range ? middle : middle - 1);
  } else {
    if (scheme.zero_in_range || range.lo == range.hi) {
      range = {std::min(range.lo, 0.0f), std::max(range.hi, 0.0f)};
    }
    wanted = (range.hi - range.lo) / top;
  }
  const float scale = RoundToHalf(wanted);
  if (!(scale <= kMaxHalf)) {  // a NaN too
    throw Error(fmt::format("a scale of {} does not fit FP16 (at most {})", wanted, kMaxHalf),
                "weights");
  }
  if (scheme.symmetric) return {scale, middle};
  if (scale == 0) return {0, 0};
  return {scale, static_cast<int>(std::clamp(std::nearbyint(-range.lo / scale), 0.0f, top))};
}

int Encode(float weight, const Affine& affine, CodeRange range) {
  if (affine.scale == 0) return affine.zero;
  // Clamped before the conversion: the quotient may be beyond an int.
  const float lowest = static_cast<float>(range.min - affine.zero);
  const float highest = static_cast<float>(range.max - affine.zero);
  return static_cast<int>(std::clamp(std::nearbyint(weight / affine.scale), lowest, highest)) +
         affine.zero;
}

PackedMatrix RoundToNearest(MatrixView<const float> weights, const WeightScheme& scheme) {
  PackedMatrix packed(weights.rows(), weights.cols(), scheme);
  const std::vector<ValueRange> ranges = FindRanges(weights, packed);
  for (size_t i = 0; i < ranges.size(); ++i) {
    packed.set_affine(i / packed.scale_cols(), i % packed.scale_cols(),
                      ChooseAffine(ranges[i], scheme));
  }
  const CodeRange range = Codes(scheme);
  std::vector<uint8_t> codes(weights.cols());
  for (size_t r = 0; r < weights.rows(); ++r) {
    for (size_t s = 0, c = 0; s < packed.scale_cols(); ++s) {
      const Affine affine = packed.affine(r / packed.rows_per_scale(), s);
      for (const size_t end = c + packed.cols_per_scale(); c < end; ++c) {
        codes[c] = static_cast<uint8_t>(Encode(weights(r, c), affine, range));
      }
    }
    packed.SetCodes(r, codes);
  }
  return packed;
}

}  // namespace quantref
