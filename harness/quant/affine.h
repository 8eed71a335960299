#pragma once

#include <cstdint>
#include <span>

#include "harness/base/matrix.h"
#include "harness/quant/packed_matrix.h"
#include "harness/quant/scheme.h"

namespace quantref {

// THE specification of rounding. Every method that rounds weights goes through these functions.
//
// A code c in [min, max] stands for the value scale * (c - zero), exactly, in FP32.
//   asymmetric: c in [0, 2^b - 1];
//               lo = min(w, 0), hi = max(w, 0) (zero_in_range), or lo = min(w), hi = max(w);
//               scale = (hi - lo) / (2^b - 1); zero = clamp(round(-lo / scale), 0, 2^b - 1)
//   symmetric:  zero = 2^(b-1), so that c - zero is the signed code q of the papers;
//               scale = absmax / (2^(b-1) - 1), q in [-(2^(b-1) - 1), 2^(b-1) - 1], or with
//               full_range scale = absmax / 2^(b-1),       q in [-2^(b-1), 2^(b-1) - 1]
//   c = clamp(round(w / scale) + zero, min, max)
// All arithmetic is FP32; round is to nearest, ties to even; the scale is rounded to FP16 times
// 2^exponent before it is used, with one exponent for all scales of a matrix: 0 where none of them
// but 0 is below 2^-14, the least normal FP16 number; else the largest that makes the least of them
// normal, or, where they lie too far apart for that, that leaves the largest of them in [2^11,
// 2^12) times 2^exponent. Degenerate ranges: a constant nonzero group without zero_in_range takes 0
// into its range; where the scale rounds to 0 every code is the zero point (0 if asymmetric).
struct Affine {
  float scale = 0;  // an FP16 value times 2^exponent, >= 0
  int zero = 0;     // a code
};

struct CodeRange {
  int min, max;
};
CodeRange Codes(const WeightScheme& scheme);

// The smallest and largest of the weights that will share a scale.
struct ValueRange {
  float lo = 0, hi = 0;
};

// Throws Error where the scale is NaN or too large for FP16 times 2^exponent.
Affine ChooseAffine(ValueRange range, const WeightScheme& scheme, int exponent = 0);

int Encode(float weight, const Affine& affine, CodeRange range);
inline float Decode(int code, const Affine& affine) {
  return affine.scale * static_cast<float>(code - affine.zero);
}

// Gives `packed` its exponent, and every scale and zero point of it the grid that spans its
// weights. `limits`, where not empty, holds one magnitude for each scale, in the layout of
// PackedMatrix's: weights beyond it count as if they were cut there. Throws Error on weights that
// are not finite, too large for an FP16 scale, or all too small for one with any exponent.
void ChooseGrids(MatrixView<const float> weights, MatrixView<const float> limits,
                 PackedMatrix& packed);

// Rounds the (out, in) matrix, cut at the limits, to nearest (RTN) under the scheme. Throws Error
// as ChooseGrids does.
PackedMatrix RoundToNearest(MatrixView<const float> weights, const WeightScheme& scheme,
                            MatrixView<const float> limits = {});

}  // namespace quantref
