#pragma once

#include <algorithm>

#include "harness/quant/scheme.h"

namespace quantref {

// THE specification of the format `int`. Rounders reach it through Grid (grid.h).
//
// A code c in [min, max] stands for the value scale * (c - zero), exactly, in FP32.
//   asymmetric: c in [0, 2^b - 1];
//               lo = min(w, 0), hi = max(w, 0) (zero_in_range), or lo = min(w), hi = max(w);
//               scale = (hi - lo) / (2^b - 1); zero = clamp(round(-lo / scale), 0, 2^b - 1)
//   symmetric:  zero = 2^(b-1), so that c - zero is the signed code q of the papers;
//               scale = absmax / (2^(b-1) - 1), q in [-(2^(b-1) - 1), 2^(b-1) - 1], or with
//               full_range scale = absmax / 2^(b-1),       q in [-2^(b-1), 2^(b-1) - 1]
//   c = clamp(round(w / scale) + zero, min, max)
// All arithmetic is FP32; round is to nearest, ties to even; the scale is rounded to what is stored
// (ScaleType::kFp16) before it is used. Degenerate ranges: a constant nonzero group without
// zero_in_range takes 0 into its range; where the scale rounds to 0 every code is the zero point (0
// if asymmetric).
struct Affine {
  float scale = 0;  // an FP16 value times 2^exponent, >= 0
  int zero = 0;     // a code
};

struct CodeRange {
  int min = 0, max = 0;
};
CodeRange Codes(const WeightScheme& scheme);

// The smallest and largest of the weights that will share a scale, and the mean of their magnitudes
// where a format asks for it (ScaleRule::kAbsMean).
struct ValueRange {
  float lo = 0, hi = 0;
  float mean_magnitude = 0;
};

// What the scale of the range should be, before it is rounded.
float AffineScale(ValueRange range, const WeightScheme& scheme);

// Throws Error where the scale is NaN or too large for FP16 times 2^exponent. `wanted`: the range's
// AffineScale, where it is known.
Affine ChooseAffine(ValueRange range, const WeightScheme& scheme, int exponent = 0);
Affine ChooseAffine(float wanted, ValueRange range, const WeightScheme& scheme, int exponent);

// To nearest, ties to even, for |x| < 2^22: std::nearbyint without SSE4.1 is a call.
inline float RoundSmall(float x) { return (x + 0x1.8p23f) - 0x1.8p23f; }

inline int Encode(float weight, const Affine& affine, CodeRange range) {
  if (affine.scale == 0) return affine.zero;
  // Clamped before it is rounded, which is the same between whole numbers: the quotient may be
  // beyond an int.
  const float lowest = static_cast<float>(range.min - affine.zero);
  const float highest = static_cast<float>(range.max - affine.zero);
  return static_cast<int>(RoundSmall(std::clamp(weight / affine.scale, lowest, highest))) +
         affine.zero;
}

inline float Decode(int code, const Affine& affine) {
  return affine.scale * static_cast<float>(code - affine.zero);
}

}  // namespace quantref
