#include "harness/method/scale_search.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/base/parallel.h"
#include "harness/quant/grid.h"

namespace quantref {
namespace {

double SquaredDifference(MatrixView<const float> a, MatrixView<const float> b) {
  double sum = 0;
  for (size_t r = 0; r < a.rows(); ++r) {
    for (size_t c = 0; c < a.cols(); ++c) {
      const double difference = static_cast<double>(a(r, c)) - static_cast<double>(b(r, c));
      sum += difference * difference;
    }
  }
  return sum;
}

// The values of the scaled weights as they are rounded, in FP32: no codes are made to be thrown
// away.
Weight ScaledColumns(const Weight& weight, std::span<const float> scales,
                     const std::optional<WeightScheme>& scheme) {
  Matrix<float> values = weight.Decode();
  QR_CHECK_EQ(values.cols(), scales.size());
  for (size_t r = 0; r < values.rows(); ++r) {
    for (size_t c = 0; c < values.cols(); ++c) values(r, c) *= scales[c];
  }
  if (scheme) RoundValues(values.view(), *scheme, {}, values.view());
  return Weight(std::move(values));
}

}  // namespace

ScaleSearch::ScaleSearch(const CalibratedBlock& block, const ScalingGroup& group, size_t tokens,
                         size_t threads)
    : block_(block),
      group_(group),
      inputs_(block.input(group.tap).Kept(tokens)),
      outputs_(inputs_.size()) {
  QR_CHECK(!inputs_.empty());
  ParallelFor(inputs_.size(), threads, [&](size_t i, size_t) {
    Workspace work;
    outputs_[i] = Matrix<float>(inputs_[i].rows(), block.shape.config.hidden);
    ModuleForward(block.shape, block.weights, group.tap, inputs_[i], outputs_[i].view(), work);
  });
}

void ModuleForward(const BlockShape& shape, const BlockWeights& weights, Tap tap,
                   MatrixView<const float> x, MatrixView<float> y, Workspace& work) {
  switch (tap) {
    case Tap::kAttentionInput:
      return AttentionForward(shape, weights, x, y, work);
    case Tap::kMlpInput:
      return MlpForward(shape, weights, x, y, work);
    case Tap::kAttentionOutput:
      return ApplyLinear(weights.linears[kO], x, y, work.linear);
    case Tap::kMlpHidden:
      return ApplyLinear(weights.linears[kDown], x, y, work.linear);
  }
}

// The block with the group's consumers scaled and rounded.
BlockWeights ScaleSearch::Trial(std::span<const float> scales) const {
  std::vector<float> channel_max = block_.input(group_.tap).channel_max;
  for (size_t j = 0; j < channel_max.size(); ++j) channel_max[j] /= scales[j];
  const std::optional<ActivationFormat> format = block_.FormatFor(channel_max);
  BlockWeights trial = block_.weights;
  for (const LinearIndex consumer : group_.consumers) {
    Linear& linear = trial.linears[consumer];
    const bool quantized = block_.schemes[consumer].has_value();
    if (quantized && format && format->KeepsWeights()) {
      linear.outlier_weights =
          OutlierWeights(ScaledColumns(linear.weight, scales, std::nullopt), linear.name);
    }
    linear.weight = ScaledColumns(linear.weight, scales, block_.schemes[consumer]);
    if (quantized) linear.activations = format;
  }
  return trial;
}

double ScaleSearch::Error(std::span<const float> scales) const {
  BlockWeights trial;
  try {
    trial = Trial(scales);
  } catch (const quantref::Error&) {
    return std::numeric_limits<double>::infinity();
  }
  double sum = 0, count = 0;
  Workspace work;
  Matrix<float> x, y;
  for (size_t i = 0; i < outputs_.size(); ++i) {
    const MatrixView<const float> kept = inputs_[i];
    Shaped(x, kept.rows(), kept.cols());
    for (size_t t = 0; t < kept.rows(); ++t) {
      for (size_t j = 0; j < kept.cols(); ++j) x(t, j) = kept(t, j) / scales[j];
    }
    ModuleForward(block_.shape, trial, group_.tap, x.view(),
                  Shaped(y, outputs_[i].rows(), outputs_[i].cols()), work);
    sum += SquaredDifference(y.view(), outputs_[i].view());
    count += static_cast<double>(y.rows() * y.cols());
  }
  return sum / count;
}

size_t ScaleSearch::Best(std::span<const std::vector<float>> candidates, size_t threads) const {
  std::vector<double> errors(candidates.size());
  ParallelFor(candidates.size(), threads,
              [&](size_t i, size_t) { errors[i] = Error(candidates[i]); });
  for (double& error : errors) {
    if (!std::isfinite(error)) error = std::numeric_limits<double>::infinity();
  }
  return static_cast<size_t>(std::min_element(errors.begin(), errors.end()) - errors.begin());
}

void AddScaleSearch(const BlockPlan& block, const ScalingGroup& group, size_t candidates,
                    size_t tokens, SearchWork& work) {
  double weights = 0;
  for (const LinearIndex consumer : group.consumers) {
    const auto& [shape, scheme, method] = block[consumer];
    if (scheme) weights += static_cast<double>(shape.rows * shape.cols);
  }
  if (weights == 0) return;
  work.rounded += static_cast<double>(candidates) * weights;
  work.visited += static_cast<double>(candidates) * 2 * weights;  // decoded, and scaled
  work.forwards[static_cast<size_t>(group.tap)] += static_cast<double>(candidates + 1);
  work.candidates = std::max(work.candidates, candidates);
  work.tokens = std::max(work.tokens, tokens);
}

}  // namespace quantref
