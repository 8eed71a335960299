#include "harness/quant/affine.h"

#include <cmath>

#include "harness/quant/scale.h"

namespace quantref {
namespace {

// The range as the scheme spans it.
ValueRange Spanned(ValueRange range, const WeightScheme& scheme) {
  if (scheme.symmetric || (!scheme.zero_in_range && range.lo != range.hi)) return range;
  return {std::min(range.lo, 0.0f), std::max(range.hi, 0.0f)};
}

}  // namespace

CodeRange Codes(const WeightScheme& scheme) {
  const int top = (1 << scheme.bits) - 1;
  return {scheme.symmetric && !scheme.full_range ? 1 : 0, top};
}

float AffineScale(ValueRange range, const WeightScheme& scheme) {
  if (scheme.symmetric) {
    const int middle = 1 << (scheme.bits - 1);
    const float absmax = std::max(std::fabs(range.lo), std::fabs(range.hi));
    return absmax / static_cast<float>(scheme.full_range ? middle : middle - 1);
  }
  range = Spanned(range, scheme);
  return (range.hi - range.lo) / static_cast<float>((1 << scheme.bits) - 1);
}

Affine ChooseAffine(ValueRange range, const WeightScheme& scheme, int exponent) {
  return ChooseAffine(AffineScale(range, scheme), range, scheme, exponent);
}

Affine ChooseAffine(float wanted, ValueRange range, const WeightScheme& scheme, int exponent) {
  const float scale = RoundScale(wanted, ScaleType::kFp16, {exponent});
  if (scheme.symmetric) return {scale, 1 << (scheme.bits - 1)};
  if (scale == 0) return {0, 0};
  const float lo = Spanned(range, scheme).lo, top = static_cast<float>((1 << scheme.bits) - 1);
  return {scale, static_cast<int>(std::clamp(std::nearbyint(-lo / scale), 0.0f, top))};
}

}  // namespace quantref
