#include "quantizers/gptq_solver_grid.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "harness/base/parallel.h"

namespace quantref {
namespace {

constexpr int kSteps = 100, kTried = 80;
constexpr float kNorm = 2.4f;

// The sum for one grid, of errors in `unit`s, so that small ones do not vanish; whatever exceeds
// `enough` says no more than that.
double Distance(std::span<const float> weights, const Grid& grid, float unit, double enough) {
  double sum = 0;
  for (size_t i = 0; i < weights.size() && sum <= enough; ++i) {
    const float error = weights[i] - grid.Nearest(weights[i]).value;
    sum += static_cast<double>(std::pow(std::fabs(error) / unit, kNorm));
  }
  return sum;
}

}  // namespace

Grid SearchGrid(std::span<const float> weights, const ValueRange& range, const WeightScheme& scheme,
                const ScaleUnit& unit) {
  const float least_unit = std::ldexp(1.0f, unit.exponent);
  Grid best = ChooseGrid(range, scheme, unit);
  double least = Distance(weights, best, least_unit, std::numeric_limits<double>::infinity());
  for (int i = 1; i < kTried; ++i) {
    const float shrink = static_cast<float>(1 - static_cast<double>(i) / kSteps);
    const Grid grid = ChooseGrid(
        {shrink * range.lo, shrink * range.hi, shrink * range.mean_magnitude}, scheme, unit);
    const double distance = Distance(weights, grid, least_unit, least);
    if (distance < least) {
      least = distance;
      best = grid;
    }
  }
  return best;
}

void SearchGrids(MatrixView<const float> weights, MatrixView<const float> limits, size_t threads,
                 PackedMatrix& packed) {
  ChooseGrids(weights, limits, packed);  // for its checks and the exponent
  const ScaleShape& shape = packed.scales();
  ParallelFor(shape.count(), threads, [&](size_t i, size_t) {
    const size_t scale_row = i / shape.cols, scale_col = i % shape.cols;
    std::vector<float> sharing;
    sharing.reserve(shape.rows_each * shape.Size(scale_col));
    for (size_t r = scale_row * shape.rows_each; r < (scale_row + 1) * shape.rows_each; ++r) {
      const float* row = weights.row(r);
      sharing.insert(sharing.end(), row + shape.Begin(scale_col), row + shape.End(scale_col));
    }
    const float limit =
        limits.empty() ? std::numeric_limits<float>::infinity() : limits(scale_row, scale_col);
    RangeFinder finder;
    for (const float weight : sharing) finder.Add(std::clamp(weight, -limit, limit));
    packed.set_grid(
        scale_row, scale_col,
        SearchGrid(sharing, finder.Range(), packed.scheme(), packed.unit(scale_row, scale_col)));
  });
}

}  // namespace quantref
