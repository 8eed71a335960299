#include "eval/stats/sample_shape.h"

#include <algorithm>
#include <cmath>

#include "eval/stats/normal.h"
#include "harness/base/check.h"

namespace quantref {
namespace {

// As Quantile of stats.h.
double QuantileOfSorted(std::span<const float> sorted, double q) {
  const double position = q * static_cast<double>(sorted.size() - 1);
  const size_t below = static_cast<size_t>(position);
  const double low = sorted[below];
  if (below + 1 == sorted.size()) return low;
  return low + (position - static_cast<double>(below)) * (sorted[below + 1] - low);
}

double ShareWithin(std::span<const float> sorted, double mean, double distance) {
  const auto first = std::lower_bound(sorted.begin(), sorted.end(), mean - distance);
  const auto end = std::upper_bound(first, sorted.end(), mean + distance);
  return static_cast<double>(end - first) / static_cast<double>(sorted.size());
}

// mean, deviation and kurtosis. Sums of the sorted values: what they are does not depend on the
// order in which a matrix holds them.
void FindMoments(std::span<const float> sorted, SampleShape& shape) {
  const double n = static_cast<double>(sorted.size());
  double sum = 0, squares = 0, fourths = 0;
  for (const float x : sorted) sum += x;
  shape.mean = sum / n;
  for (const float x : sorted) {
    const double square = (x - shape.mean) * (x - shape.mean);
    squares += square;
    fourths += square * square;
  }
  shape.deviation = std::sqrt(squares / (n - 1));
  shape.kurtosis = n * fourths / (squares * squares) - 3;
}

// distinct and normal_distance.
void CompareWithNormal(std::span<const float> sorted, SampleShape& shape) {
  const double n = static_cast<double>(sorted.size());
  const auto below = [&](double x) { return NormalBelow((x - shape.mean) / shape.deviation); };
  const auto above = [&](double x) { return NormalBelow((shape.mean - x) / shape.deviation); };
  shape.distinct = 1;
  shape.normal_distance = std::max(below(sorted.front()), above(sorted.back()));
  for (size_t i = 1; i < sorted.size(); ++i) {
    if (sorted[i] == sorted[i - 1]) continue;
    ++shape.distinct;
    const double middle = (static_cast<double>(sorted[i - 1]) + static_cast<double>(sorted[i])) / 2;
    const double distance = std::fabs(static_cast<double>(i) / n - below(middle));
    shape.normal_distance = std::max(shape.normal_distance, distance);
  }
}

}  // namespace

double SampleShape::Peak() const { return std::max(largest - mean, mean - least) / deviation; }

std::optional<SampleShape> ShapeOf(std::span<float> values) {
  if (values.size() < kLeastShaped) return std::nullopt;
  std::sort(values.begin(), values.end());
  QR_DCHECK(std::isfinite(values.front()) && std::isfinite(values.back()));
  if (values.front() == values.back()) return std::nullopt;
  SampleShape shape{.count = values.size(), .least = values.front(), .largest = values.back()};
  FindMoments(values, shape);
  for (size_t k = 0; k < shape.within.size(); ++k) {
    shape.within[k] = ShareWithin(values, shape.mean, static_cast<double>(k + 1) * shape.deviation);
  }
  shape.bulk = (QuantileOfSorted(values, 0.995) - QuantileOfSorted(values, 0.005)) /
               (shape.largest - shape.least);
  CompareWithNormal(values, shape);
  return shape;
}

double DistanceHalfWidth(size_t count) {
  QR_CHECK(count > 0);
  return std::sqrt(std::log(2 / 0.05) / (2 * static_cast<double>(count)));
}

double NormalDistanceBound(size_t count) {
  QR_CHECK(count >= kLeastShaped);
  const double root = std::sqrt(static_cast<double>(count));
  return 0.895 / (root - 0.01 + 0.85 / root);
}

}  // namespace quantref
