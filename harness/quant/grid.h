#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <span>

#include "harness/base/matrix.h"
#include "harness/quant/affine.h"
#include "harness/quant/format.h"
#include "harness/quant/packed_matrix.h"
#include "harness/quant/scheme.h"

namespace quantref {

// The values that the weights under one scale can take, and their codes: all that rounders know of
// a number format.
//   int         those of affine.h
//   float_zero  scale * (c - zero), in FP32, c in [0, 2^b - 1]; the nearest is
//               c = clamp(round(w / scale + zero), 0, 2^b - 1), ties to even
//   a table     scale * level, a product in FP32; the nearest is the level nearest to w / scale, a
//               quotient in FP32 (w times the inverse of the scale where the format says so); where
//               the scale is 0, that nearest to 0
// With double quantization a grid that was chosen for weights divides them by the scale before it
// was rounded, as bitsandbytes does; one that a PackedMatrix gives knows the stored scale alone.
class Grid {
 public:
  struct Point {
    int code;
    float value;  // Decode(code)
  };

  Grid() = default;
  Grid(const Affine& affine, const WeightScheme& scheme);     // the format is affine
  Grid(float scale, const WeightScheme& scheme);              // it has a table
  Grid(float scale, float zero, const WeightScheme& scheme);  // it has ZeroKind::kHalf
  Grid DividingBy(float divisor) const;                       // of a table

  // The point that the weight is rounded to. Weights beyond the ends go to these.
  Point Nearest(float weight) const {
    if (levels_ != nullptr) return NearestLevel(weight);
    if (has_float_zero_) return NearestEven(weight);
    const int code = Encode(weight, affine_, codes_);
    return {code, quantref::Decode(code, affine_)};
  }
  float Decode(int code) const {
    if (levels_ != nullptr) return affine_.scale * (*levels_)[static_cast<size_t>(code)];
    if (has_float_zero_) return affine_.scale * (static_cast<float>(code) - zero_);
    return quantref::Decode(code, affine_);
  }

  // Weights beyond it lie beyond the grid's ends by more than half a step.
  ValueRange Reach() const;

  float scale() const { return affine_.scale; }
  float divisor() const { return divisor_; }        // of a table: what weights are divided by
  float zero() const { return zero_; }              // of ZeroKind::kHalf
  const Affine& affine() const { return affine_; }  // of an affine format, for integer kernels

 private:
  Point NearestLevel(float weight) const;
  Point NearestEven(float weight) const;

  const LevelTable* levels_ = nullptr;  // of the scheme's format
  bool has_float_zero_ = false, by_inverse_ = false;
  Affine affine_{};
  CodeRange codes_{};
  float zero_ = 0, divisor_ = 0, inverse_ = 0;
};

// The range of some weights that share a scale, one after the other.
class RangeFinder {
 public:
  void Add(float weight) {
    range_.lo = std::min(range_.lo, weight);
    range_.hi = std::max(range_.hi, weight);
    sum_ += static_cast<double>(std::fabs(weight));
    ++count_;
  }
  ValueRange Range() const {  // of one weight or more
    return {range_.lo, range_.hi, static_cast<float>(sum_ / static_cast<double>(count_))};
  }

 private:
  ValueRange range_{std::numeric_limits<float>::infinity(),
                    -std::numeric_limits<float>::infinity()};
  double sum_ = 0;
  size_t count_ = 0;
};

// The grid that spans the weights of a range. unit: of its scale (PackedMatrix). Throws Error where
// the scale is NaN or too large for what is stored.
Grid ChooseGrid(const ValueRange& range, const WeightScheme& scheme, const ScaleUnit& unit = {});

// The grid of ZeroKind::kHalf whose scale and zero are those, as they are stored. Throws Error
// where one is too large for that.
Grid RoundedGrid(float scale, float zero, const WeightScheme& scheme, const ScaleUnit& unit = {});

// Weights of this magnitude have a scale that can be stored, with a factor of 2 to spare.
float WidestRange(const WeightScheme& scheme, const ScaleUnit& unit);

// Gives `packed` its frame, and every scale of it the grid that spans its weights. `limits`, where
// not empty, holds one magnitude for each scale, in the layout of PackedMatrix's: weights beyond it
// count as if they were cut there. Throws Error on weights that are not finite, too large for their
// scale, or all too small for one in any frame.
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

// The same of a row of numbers that are no weights, by row or group, with a unit that is given
// (kE4m3: the divisor of all scales; double quantization has none). Where a number of a group is
// not finite, or its scale cannot be stored, the group's values are NaN. `values` may be the row.
void RoundRow(std::span<const float> row, const WeightScheme& scheme, const ScaleUnit& unit,
              std::span<float> values);

// The divisor of kE4m3 scales with which the numbers of this magnitude get the largest of them:
// what matrices are given. 1 for 0.
float E4m3Divisor(float absmax, const WeightScheme& scheme);

}  // namespace quantref
