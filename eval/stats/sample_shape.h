#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <span>

namespace quantref {

// The shape of the distribution that a sample is of, and how far it is from the normal one of the
// same mean and deviation.
struct SampleShape {
  size_t count = 0, distinct = 0;  // values, and how many different ones
  double least = 0, largest = 0;
  double mean = 0, deviation = 0;  // deviation: sqrt(sum (x - mean)^2 / (n - 1))
  double kurtosis = 0;  // m4 / m2^2 - 3 of the moments about the mean: 0 normal, 3 Laplace's
  std::array<double, 3> within{};  // share no further than 1, 2, 3 deviations from the mean
  // What the middle 99 % take of the way from the least to the largest value: the quantiles of
  // 0.5 % and 99.5 %, interpolated as Quantile does.
  double bulk = 0;
  // Kolmogorov and Smirnov's distance: the largest difference between the two distributions'
  // cumulative shares. Numbers that were rounded when they were stored stand for all that round to
  // them, so that shares are compared midway between neighbours, and at both ends.
  double normal_distance = 0;

  // Distance of the value that is farthest from the mean, in deviations.
  double Peak() const;
};

// Nothing for fewer than kLeastShaped values, and where all are equal. Values are finite; they are
// sorted.
inline constexpr size_t kLeastShaped = 8;
std::optional<SampleShape> ShapeOf(std::span<float> values);

// What independent values say of a distance: with 95 % confidence all cumulative shares lie this
// close to those of the sample, and so does the distance from any given distribution (Massart 1990:
// sqrt(ln(2 / 0.05) / (2 n))).
double DistanceHalfWidth(size_t count);

// The distance that samples of a normal distribution stay below in 95 of 100 where mean and
// deviation are the sample's own: Lilliefors's test at 5 %, by the approximation of Stephens (1974,
// case 3), 0.895 / (sqrt(n) - 0.01 + 0.85 / sqrt(n)).
double NormalDistanceBound(size_t count);

}  // namespace quantref
