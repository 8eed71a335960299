#pragma once

#include <cstdint>
#include <span>

#include "harness/base/matrix.h"
#include "harness/quant/affine.h"
#include "harness/quant/format.h"
#include "harness/quant/packed_matrix.h"
#include "harness/quant/scheme.h"

namespace quantref {

// The values that the weights under one scale can take, and their codes: all that rounders know of
// a number format. Of `int` they are those of affine.h. Of a format with a table they are scale *
// level, a product in FP32, and the nearest one is the level nearest to w / scale, a quotient in
// FP32; where the scale is 0, that nearest to 0.
class Grid {
 public:
  struct Point {
    int code;
    float value;  // Decode(code)
  };

  Grid() = default;
  Grid(const Affine& affine, const WeightScheme& scheme);  // the format is affine
  Grid(float scale, const WeightScheme& scheme);           // or it has a table

  // The point that the weight is rounded to. Weights beyond the ends go to these.
  Point Nearest(float weight) const {
    if (levels_ != nullptr) return NearestLevel(weight);
    const int code = Encode(weight, affine_, codes_);
    return {code, quantref::Decode(code, affine_)};
  }
  float Decode(int code) const {
    if (levels_ != nullptr) return affine_.scale * (*levels_)[static_cast<size_t>(code)];
    return quantref::Decode(code, affine_);
  }

  // Weights beyond it lie beyond the grid's ends by more than half a step.
  ValueRange Reach() const;

  float scale() const { return affine_.scale; }
  const Affine& affine() const { return affine_; }  // of an affine format, for integer kernels

 private:
  Point NearestLevel(float weight) const;

  const LevelTable* levels_ = nullptr;  // of the scheme's format
  Affine affine_{};
  CodeRange codes_{};
};

// The grid that spans the weights of a range. exponent: of the matrix (PackedMatrix). Throws Error
// where the scale is NaN or too large for what is stored.
Grid ChooseGrid(ValueRange range, const WeightScheme& scheme, int exponent = 0);

// Weights of this magnitude have a scale that can be stored, with a factor of 2 to spare.
float WidestRange(const WeightScheme& scheme, int exponent);

// Gives `packed` its exponent, and every scale of it the grid that spans its weights. `limits`,
// where not empty, holds one magnitude for each scale, in the layout of PackedMatrix's: weights
// beyond it count as if they were cut there. Throws Error on weights that are not finite, too large
// for their scale, or all too small for one with any exponent.
void ChooseGrids(MatrixView<const float> weights, MatrixView<const float> limits,
                 PackedMatrix& packed);

// Rounds the (out, in) matrix, cut at the limits, to nearest (RTN) under the scheme. Throws Error
// as ChooseGrids does.
PackedMatrix RoundToNearest(MatrixView<const float> weights, const WeightScheme& scheme,
                            MatrixView<const float> limits = {});

// The values that RoundToNearest's codes stand for, without making the codes: for searches, which
// only ask what rounding would do. `values` has the shape of the weights and may be these.
void RoundValues(MatrixView<const float> weights, const WeightScheme& scheme,
                 MatrixView<const float> limits, MatrixView<float> values);

}  // namespace quantref
