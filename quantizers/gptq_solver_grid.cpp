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

Grid SearchGrid(std::span<const float> weights, ValueRange range, const WeightScheme& scheme,
                int exponent) {
  const float unit = std::ldexp(1.0f, exponent);
  Grid best = ChooseGrid(range, scheme, exponent);
  double least = Distance(weights, best, unit, std::numeric_limits<double>::infinity());
  for (int i = 1; i < kTried; ++i) {
    const float shrink = static_cast<float>(1 - static_cast<double>(i) / kSteps);
    const Grid grid = ChooseGrid({shrink * range.lo, shrink * range.hi}, scheme, exponent);
    const double distance = Distance(weights, grid, unit, least);
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
    const auto [lo, hi] = std::minmax_element(sharing.begin(), sharing.end());
    const float limit =
        limits.empty() ? std::numeric_limits<float>::infinity() : limits(scale_row, scale_col);
    const ValueRange range{std::clamp(*lo, -limit, limit), std::clamp(*hi, -limit, limit)};
    packed.set_grid(scale_row, scale_col,
                    SearchGrid(sharing, range, packed.scheme(), packed.exponent()));
  });
}

}  // namespace quantref
