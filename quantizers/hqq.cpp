#include "quantizers/hqq.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "harness/base/cancel.h"
#include "harness/base/parallel.h"
#include "harness/quant/grid.h"

namespace quantref {
namespace {

constexpr std::array kHqqKnobs = {
    Knob{"lp_norm", "p of the error |x|^p", Knob::Kind::kReal, 0.7, 0.1, 1},
    Knob{"beta", "of the first step: the larger, the closer the steps", Knob::Kind::kReal, 10, 0.01,
         1e6},
    Knob{"kappa", "by what beta grows each step", Knob::Kind::kReal, 1.01, 1, 10},
    Knob{"iterations", "steps at most", Knob::Kind::kCount, 20, 0, 1000},
};

float Shrunk(float x, float inverse_beta, float p) {
  const float size = std::fabs(x);
  const float left = size - inverse_beta * std::pow(size, p - 1);  // of 0: -infinity
  return left > 0 ? std::copysign(left, x) : 0.0f;
}

// The zero points of a matrix on their way, one for each scale.
class ZeroSearch {
 public:
  ZeroSearch(const RoundInput& input, PackedMatrix& packed)
      : input_(input),
        packed_(packed),
        shape_(packed.scales()),
        zeros_(shape_.count()),
        top_(static_cast<float>((1 << input.scheme.bits) - 1)) {
    for (size_t i = 0; i < zeros_.size(); ++i)
      zeros_[i] = packed.grid(i / shape_.cols, i % shape_.cols).zero();
  }

  void Run(const Knobs& knobs) {
    const float p = static_cast<float>(knobs.Real("lp_norm"));
    double beta = knobs.Real("beta"), best = std::numeric_limits<double>::infinity();
    for (size_t i = 0; i < knobs.Count("iterations"); ++i, beta *= knobs.Real("kappa")) {
      ThrowIfCancelled();
      const double error = Step(static_cast<float>(1 / beta), p);
      ++steps_;
      if (!(error < best)) break;
      best = error;
    }
  }

  // The grids with their zero points as they are stored, and the codes.
  void Store() {
    for (size_t i = 0; i < zeros_.size(); ++i) {
      const size_t row = i / shape_.cols, col = i % shape_.cols;
      packed_.set_grid(row, col,
                       RoundedGrid(packed_.grid(row, col).scale(), zeros_[i], input_.scheme,
                                   packed_.unit(row, col)));
    }
    std::vector<uint8_t> codes(input_.weights.cols());
    for (size_t r = 0; r < input_.weights.rows(); ++r) {
      for (size_t s = 0; s < shape_.cols; ++s) {
        const Grid grid = packed_.grid(shape_.RowOf(r), s);
        for (size_t c = shape_.Begin(s); c < shape_.End(s); ++c)
          codes[c] = static_cast<uint8_t>(grid.Nearest(CutWeight(r, c, s)).code);
      }
      packed_.SetCodes(r, codes);
    }
  }

  size_t steps() const { return steps_; }

 private:
  float CutWeight(size_t r, size_t c, size_t scale_col) const {
    const float weight = input_.weights(r, c);
    if (input_.limits.empty()) return weight;
    const float limit = input_.limits(shape_.RowOf(r), scale_col);
    return std::clamp(weight, -limit, limit);
  }

  // One step of all zero points; the mean error before it.
  double Step(float inverse_beta, float p) {
    std::vector<double> errors(shape_.rows);
    ParallelFor(shape_.rows, input_.threads, [&](size_t row, size_t) {
      const size_t end = std::min((row + 1) * shape_.rows_each, input_.weights.rows());
      for (size_t s = 0; s < shape_.cols; ++s) {
        const float scale = packed_.grid(row, s).scale();
        float& zero = zeros_[row * shape_.cols + s];
        double sum = 0, count = 0;
        for (size_t r = row * shape_.rows_each; r < end; ++r) {
          for (size_t c = shape_.Begin(s); c < shape_.End(s); ++c, ++count) {
            const float w = CutWeight(r, c, s);
            const float code =
                scale == 0 ? 0 : std::clamp(std::nearbyint(w / scale + zero), 0.0f, top_);
            const float error = w - scale * (code - zero);
            errors[row] += static_cast<double>(std::fabs(error));
            if (scale > 0)
              sum += static_cast<double>(code - (w - Shrunk(error, inverse_beta, p)) / scale);
          }
        }
        if (scale > 0) zero = static_cast<float>(sum / count);
      }
    });
    const double count = static_cast<double>(input_.weights.rows() * input_.weights.cols());
    return std::accumulate(errors.begin(), errors.end(), 0.0) / count;
  }

  const RoundInput& input_;
  PackedMatrix& packed_;
  const ScaleShape shape_;
  std::vector<float> zeros_;
  const float top_;
  size_t steps_ = 0;
};

}  // namespace

std::span<const Knob> Hqq::knobs() const { return kHqqKnobs; }

std::string Hqq::WhyNot(const WeightScheme& scheme) const {
  if (scheme.format->zero == ZeroKind::kHalf) return {};
  return "looks for zero points that are no codes, as format: float_zero has them";
}

Rounded Hqq::Round(const RoundInput& input) const {
  Rounded rounded{PackedMatrix(input.weights.rows(), input.weights.cols(), input.scheme)};
  ChooseGrids(input.weights, input.limits, rounded.packed);
  ZeroSearch search(input, rounded.packed);
  search.Run(Settings(input));
  search.Store();
  rounded.note = fmt::format("{} steps", search.steps());
  return rounded;
}

}  // namespace quantref
