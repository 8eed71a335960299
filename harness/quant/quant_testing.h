#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <initializer_list>
#include <span>
#include <vector>

#include "harness/base/half.h"
#include "harness/quant/format.h"
#include "harness/quant/scheme.h"

// What the tests of rounding share. Only tests include this.

namespace quantref::testing {

// A small matrix: rows of three groups.
inline constexpr size_t kFewRows = 6, kFewCols = 24, kFewGroup = 8;

// Inputs and groups that do not divide them, or are longer; and some that do.
struct ColsAndGroup {
  size_t cols, group;
};
inline constexpr ColsAndGroup kRaggedSizes[] = {
    {576, 128}, {896, 128}, {100, 32}, {33, 32}, {31, 32}, {1, 32},   {1, 1},    {7, 3},
    {65, 64},   {97, 96},   {35, 2},   {129, 7}, {40, 41}, {130, 64}, {300, 100}};

// Every kind of scheme of these bits.
inline std::vector<WeightScheme> AllSchemes(std::initializer_list<int> all_bits, size_t group) {
  std::vector<WeightScheme> schemes;
  for (const int bits : all_bits) {
    for (Granularity granularity :
         {Granularity::kTensor, Granularity::kRow, Granularity::kColumn, Granularity::kGroup}) {
      for (bool symmetric : {false, true}) {
        for (bool knob : {false, true}) {
          WeightScheme scheme{bits, granularity, group, symmetric};
          (symmetric ? scheme.full_range : scheme.zero_in_range) = knob;
          schemes.push_back(scheme);
        }
      }
    }
  }
  return schemes;
}

// The grid of the weights that share a scale by the formulas of affine.h, in double but for the
// scale, which is FP16: of `int`, the range always containing 0.
struct DoubleGrid {
  DoubleGrid() = default;
  template <typename Number>
  DoubleGrid(std::span<Number> weights, const WeightScheme& scheme) {
    double lo = 0, hi = 0;
    for (const Number w : weights) {
      lo = std::min(lo, static_cast<double>(w));
      hi = std::max(hi, static_cast<double>(w));
    }
    most = std::ldexp(1, scheme.bits) - 1;
    least = scheme.symmetric ? 1 : 0;
    const double middle = std::ldexp(1, scheme.bits - 1);
    const double wanted = scheme.symmetric ? std::max(-lo, hi) / (middle - 1) : (hi - lo) / most;
    scale = static_cast<double>(RoundToHalf(static_cast<float>(wanted)));
    zero = scheme.symmetric ? middle : std::clamp(std::nearbyint(-lo / scale), 0.0, most);
  }

  // Where among the codes, before it is rounded; and where when it is.
  double Place(double weight) const { return std::clamp(weight / scale + zero, least, most); }
  double Code(double weight) const {
    return std::clamp(std::nearbyint(weight / scale) + zero, least, most);
  }
  double Value(double weight) const { return scale * (Code(weight) - zero); }

  double scale = 0, zero = 0, least = 0, most = 0;
};

// Formats with tables that no config knows. Uneven: 16 levels, not symmetric, not in order, two of
// them 0, FP16 scales. Wide: 8 levels, FP32 scales.
inline constexpr float kUnevenLevels[] = {0,     0.25f, 0.5f,  0.75f,  1,      1.5f,   2,     3.5f,
                                          -0.0f, -0.2f, -0.4f, -0.65f, -1.05f, -1.55f, -2.1f, -3};
inline constexpr float kWideLevels[] = {-1, -0.61f, -0.3f, -0.07f, 0.11f, 0.34f, 0.66f, 1};
inline constexpr NumberFormat kUneven = {.name = "uneven",
                                         .about = "for tests",
                                         .levels = {kUnevenLevels, Midpoint::kEvenCode},
                                         .group = 16};
inline constexpr NumberFormat kWide = {.name = "wide",
                                       .about = "for tests",
                                       .levels = {kWideLevels, Midpoint::kLower},
                                       .scale = ScaleType::kFp32,
                                       .group = 8};

// Every reach of their scales.
inline std::vector<WeightScheme> TableSchemes(size_t group) {
  std::vector<WeightScheme> schemes;
  for (const NumberFormat* format : {&kUneven, &kWide}) {
    for (Granularity granularity :
         {Granularity::kTensor, Granularity::kRow, Granularity::kColumn, Granularity::kGroup}) {
      WeightScheme scheme = SchemeOf(*format);
      scheme.granularity = granularity;
      scheme.group = group;
      schemes.push_back(scheme);
    }
  }
  return schemes;
}

// Of every format that configs name, `int` apart: what it allows of these.
inline std::vector<WeightScheme> FormatSchemes(size_t group) {
  std::vector<WeightScheme> schemes;
  for (const NumberFormat* format : NumberFormats()) {
    if (format->affine()) continue;
    for (Granularity granularity :
         {Granularity::kTensor, Granularity::kRow, Granularity::kColumn, Granularity::kGroup}) {
      if (format->fixed_group && granularity != Granularity::kGroup) continue;
      WeightScheme scheme = SchemeOf(*format);
      scheme.granularity = granularity;
      if (!format->fixed_group) scheme.group = group;
      schemes.push_back(scheme);
      scheme.double_quant = true;
      if (format->allows_double_quant()) schemes.push_back(scheme);
    }
  }
  return schemes;
}

}  // namespace quantref::testing
