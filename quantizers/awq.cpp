#include "quantizers/awq.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "harness/base/cancel.h"
#include "harness/base/check.h"
#include "harness/base/parallel.h"
#include "harness/kernels/gemm.h"
#include "harness/method/scale_search.h"
#include "harness/quant/grid.h"

namespace quantref {
namespace {

constexpr std::array<Knob, 6> kAwqKnobs = {{
    {"grid", "candidates of the scale search", Knob::Kind::kCount, 20, 1, 1000, "scale"},
    {"tokens", "of the calibration text that the scale search looks at", Knob::Kind::kCount,
     kSearchTokens, 1, 1 << 24, "scale"},
    {"scale", "search channel scales", Knob::Kind::kFlag, 1, 0, 1},
    {"clip", "search clipping limits", Knob::Kind::kFlag, 1, 0, 1},
    {"clip_grid", "a step of clipping is 1/clip_grid", Knob::Kind::kCount, 20, 1, 1000, "clip"},
    {"max_shrink", "clipping keeps more than 1 - max_shrink", Knob::Kind::kReal, 0.5, 0, 1, "clip"},
}};

constexpr double kLeastScale = 1e-4;

void SearchScales(CalibratedBlock& block, const ScalingGroup& group, const Knobs& knobs,
                  size_t threads) {
  const size_t grid = knobs.Count("grid");
  const std::vector<double>& means = block.input(group.tap).channel_mean;
  std::vector<std::vector<float>> candidates;
  for (size_t i = 0; i < grid; ++i) {
    candidates.push_back(AwqScales(means, static_cast<double>(i) / static_cast<double>(grid)));
  }
  const size_t best =
      ScaleSearch(block, group, knobs.Count("tokens"), threads).Best(candidates, threads);
  Fold(block, group, candidates[best]);
  Note(block, group.tap,
       fmt::format("awq ratio {:.2f}", static_cast<double>(best) / static_cast<double>(grid)));
}

ClipGrid ClipGridOf(const Knobs& knobs) {
  const size_t grid = knobs.Count("clip_grid");
  // 0.35 * 20 is a little less than 7.
  constexpr double kRounding = 1e-9;
  const double steps = std::floor(static_cast<double>(grid) * knobs.Real("max_shrink") + kRounding);
  return {grid, std::max<size_t>(1, static_cast<size_t>(steps))};
}

bool HasLimits(const std::optional<WeightScheme>& scheme) {
  return scheme &&
         (scheme->granularity == Granularity::kRow || scheme->granularity == Granularity::kGroup);
}

void SearchLimits(CalibratedBlock& block, const ClipGrid& clip, size_t threads) {
  for (const LinearRow& row : block.shape.layout().linears) {
    const std::optional<WeightScheme>& scheme = block.schemes[row.index];
    if (!row.clippable || !HasLimits(scheme)) continue;
    const Matrix<float> weights = block.weights.linears[row.index].weight.Decode();
    block.limits[row.index] =
        AwqLimits(weights.view(), *scheme, block.input(row.tap).gram.view(), clip, threads);
  }
}

// The diagonal blocks of the Gram matrix, one for each scale of a row, each divided by the mean of
// its diagonal, which brings the sums of any number of tokens into FP32's range.
std::vector<Matrix<float>> DiagonalBlocks(MatrixView<const double> gram, const ScaleShape& shape) {
  std::vector<Matrix<float>> blocks;
  for (size_t s = 0; s < shape.cols; ++s) {
    const size_t first = shape.Begin(s), width = shape.Size(s);
    double trace = 0;
    for (size_t i = first; i < first + width; ++i) trace += gram(i, i);
    const double factor = trace > 0 ? static_cast<double>(width) / trace : 0.0;
    Matrix<float>& block = blocks.emplace_back(width, width);
    for (size_t i = 0; i < width; ++i) {
      for (size_t j = 0; j < width; ++j) {
        block(i, j) = static_cast<float>(factor * gram(first + i, first + j));
      }
    }
  }
  return blocks;
}

float AbsMax(std::span<const float> values) {
  float largest = 0;
  for (const float value : values) largest = std::max(largest, std::fabs(value));
  return largest;
}

double Dot(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i)
    sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

// The limits of a few rows.
class TileSearch {
 public:
  TileSearch(MatrixView<const float> weights, const WeightScheme& scheme,
             const std::vector<Matrix<float>>& gram, MatrixView<float> limits)
      : weights_(weights),
        scheme_(scheme),
        gram_(gram),
        limits_(limits),
        shape_(ShapeOfScales(weights.rows(), weights.cols(), scheme)),
        largest_(limits.rows(), limits.cols()),
        trial_(limits.rows(), limits.cols()),
        least_(limits.rows(), limits.cols()),
        change_(weights.rows(), weights.cols()),
        product_(weights.rows(), shape_.cols_each) {}

  void Run(const ClipGrid& clip) {
    for (size_t r = 0; r < limits_.rows(); ++r) {
      for (size_t g = 0; g < limits_.cols(); ++g) {
        largest_(r, g) = AbsMax(weights_.row_span(r).subspan(shape_.Begin(g), shape_.Size(g)));
        limits_(r, g) = largest_(r, g);
        least_(r, g) = std::numeric_limits<double>::infinity();
      }
    }
    for (size_t i = 0; i < clip.steps; ++i) {
      ThrowIfCancelled();
      const double kept = 1 - static_cast<double>(i) / static_cast<double>(clip.grid);
      for (size_t r = 0; r < trial_.rows(); ++r) {
        for (size_t g = 0; g < trial_.cols(); ++g) {
          trial_(r, g) = static_cast<float>(kept * static_cast<double>(largest_(r, g)));
        }
      }
      Try();
    }
  }

 private:
  // Takes over the limits on trial where they are better than the best so far.
  void Try() {
    RoundValues(weights_, scheme_, trial_.view(), change_.view());
    for (size_t r = 0; r < weights_.rows(); ++r) {
      for (size_t c = 0; c < weights_.cols(); ++c) change_(r, c) = weights_(r, c) - change_(r, c);
    }
    for (size_t g = 0; g < limits_.cols(); ++g) {
      const size_t width = shape_.Size(g);
      const MatrixView<const float> change = change_.view().Cols(shape_.Begin(g), width);
      const MatrixView<float> product = product_.view().Cols(0, width);
      MultiplyTransposed(change, gram_[g].view(), product);
      for (size_t r = 0; r < limits_.rows(); ++r) {
        const double error = Dot(change.row_span(r), product.row_span(r));
        if (!(error < least_(r, g))) continue;
        least_(r, g) = error;
        limits_(r, g) = trial_(r, g);
      }
    }
  }

  MatrixView<const float> weights_;
  const WeightScheme& scheme_;
  const std::vector<Matrix<float>>& gram_;
  MatrixView<float> limits_;
  const ScaleShape shape_;  // weights that share a limit
  Matrix<float> largest_, trial_;
  Matrix<double> least_;
  Matrix<float> change_, product_;
};

}  // namespace

std::span<const Knob> Awq::knobs() const { return kAwqKnobs; }

DataNeeds Awq::needs(const Knobs& knobs) const {
  const bool scale = knobs.Flag("scale");
  return {.channel_mean = scale,
          .gram_blocks = knobs.Flag("clip"),
          .kept = scale ? knobs.Count("tokens") : 0};
}

void Awq::Apply(CalibratedBlock& block, const Knobs& knobs, size_t threads) const {
  if (knobs.Flag("scale")) {
    for (const ScalingGroup& group : block.shape.layout().ScalingGroups()) {
      if (block.Quantizes(group.tap)) SearchScales(block, group, knobs, threads);
    }
  }
  if (knobs.Flag("clip")) SearchLimits(block, ClipGridOf(knobs), threads);
}

SearchWork Awq::Searches(const BlockPlan& block, const Knobs& knobs) const {
  SearchWork work;
  if (knobs.Flag("scale")) {
    for (const ScalingGroup& group : block.layout.ScalingGroups())
      AddScaleSearch(block, group, knobs.Count("grid"), knobs.Count("tokens"), work);
  }
  const double steps = static_cast<double>(ClipGridOf(knobs).steps);
  for (const LinearRow& row : block.layout.linears) {
    const auto& [shape, scheme, method] = block[row.index];
    if (!knobs.Flag("clip") || !row.clippable || !HasLimits(scheme)) continue;
    const double weights = static_cast<double>(shape.rows * shape.cols);
    const size_t width = ShapeOfScales(shape.rows, shape.cols, *scheme).cols_each;
    work.rounded += steps * weights;
    work.products += steps * 2 * weights * static_cast<double>(width);
    work.visited += steps * 2 * weights;  // the change, and its product with the products
  }
  return work;
}

std::vector<float> AwqScales(std::span<const double> channel_mean, double ratio) {
  std::vector<double> powers(channel_mean.size(), 1);
  double least = HUGE_VAL, most = 0;
  for (size_t j = 0; j < powers.size(); ++j) {
    const double mean = channel_mean[j];
    if (mean == 0) continue;
    if (std::isfinite(mean)) powers[j] = std::max(std::pow(mean, ratio), kLeastScale);
    least = std::min(least, powers[j]);
    most = std::max(most, powers[j]);
  }
  const double middle = std::sqrt(least * most);
  std::vector<float> scales(powers.size());
  for (size_t j = 0; j < powers.size(); ++j)
    scales[j] = channel_mean[j] == 0 ? 1.0f : static_cast<float>(powers[j] / middle);
  return scales;
}

Matrix<float> AwqLimits(MatrixView<const float> weights, const WeightScheme& scheme,
                        MatrixView<const double> gram, const ClipGrid& clip, size_t threads) {
  QR_CHECK(scheme.granularity == Granularity::kRow || scheme.granularity == Granularity::kGroup);
  QR_CHECK_EQ(gram.rows(), weights.cols());
  QR_CHECK(0 < clip.steps && clip.steps <= clip.grid);
  const std::vector<Matrix<float>> blocks =
      DiagonalBlocks(gram, ShapeOfScales(weights.rows(), weights.cols(), scheme));
  Matrix<float> limits(weights.rows(), blocks.size());
  constexpr size_t kTileRows = 64;
  ParallelFor((weights.rows() + kTileRows - 1) / kTileRows, threads, [&](size_t tile, size_t) {
    const size_t first = tile * kTileRows, count = std::min(kTileRows, weights.rows() - first);
    TileSearch(weights.Rows(first, count), scheme, blocks, limits.view().Rows(first, count))
        .Run(clip);
  });
  return limits;
}

}  // namespace quantref
