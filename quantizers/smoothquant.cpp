#include "quantizers/smoothquant.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "harness/base/check.h"
#include "harness/method/scale_search.h"

namespace quantref {
namespace {

constexpr std::array<Knob, 2> kSmoothQuantKnobs = {{
    {"alpha", "migration strength: 0 leaves outliers in activations, 1 in weights",
     Knob::Kind::kReal, 0.5, 0, 1},
    {"search", "the best alpha for each group instead", Knob::Kind::kFlag, 0, 0, 1},
}};

constexpr double kLeast = 1e-5;
constexpr size_t kAlphaSteps = 20;  // of the search

// max |W_j| over all consumers of the group.
std::vector<float> WeightMax(const BlockWeights& weights, const ScalingGroup& group) {
  std::vector<float> largest;
  for (const LinearIndex consumer : group.consumers) {
    const Matrix<float> values = weights.linears[consumer].weight.Decode();
    largest.resize(values.cols());
    for (size_t r = 0; r < values.rows(); ++r) {
      for (size_t j = 0; j < values.cols(); ++j) {
        largest[j] = std::max(largest[j], std::fabs(values(r, j)));
      }
    }
  }
  return largest;
}

void Smooth(CalibratedBlock& block, const ScalingGroup& group, std::span<const double> alphas,
            size_t threads) {
  const std::vector<float> weight_max = WeightMax(block.weights, group);
  std::vector<std::vector<float>> candidates;
  for (const double alpha : alphas) {
    candidates.push_back(SmoothQuantScales(block.input(group.tap).channel_max, weight_max, alpha));
  }
  const size_t best =
      candidates.size() == 1
          ? 0
          : ScaleSearch(block, group, kSearchTokens, threads).Best(candidates, threads);
  Fold(block, group, candidates[best]);
  Note(block, group.tap, fmt::format("alpha {:.2f}", alphas[best]));
}

}  // namespace

std::span<const Knob> SmoothQuant::knobs() const { return kSmoothQuantKnobs; }

DataNeeds SmoothQuant::needs(const Knobs& knobs) const {
  return {.channel_max = true, .kept = knobs.Flag("search") ? kSearchTokens : 0};
}

void SmoothQuant::Apply(CalibratedBlock& block, const Knobs& knobs, size_t threads) const {
  std::vector<double> alphas;
  if (knobs.Flag("search")) {
    for (size_t i = 0; i <= kAlphaSteps; ++i) {
      alphas.push_back(static_cast<double>(i) / static_cast<double>(kAlphaSteps));
    }
  } else {
    alphas.push_back(knobs.Real("alpha"));
  }
  for (const ScalingGroup& group : block.shape.layout().ScalingGroups()) {
    if (group.of_norm() && block.Quantizes(group.tap)) Smooth(block, group, alphas, threads);
  }
}

SearchWork SmoothQuant::Searches(const BlockPlan& block, const Knobs& knobs) const {
  SearchWork work;
  if (!knobs.Flag("search")) return work;
  for (const ScalingGroup& group : block.layout.ScalingGroups()) {
    if (group.of_norm()) AddScaleSearch(block, group, kAlphaSteps + 1, kSearchTokens, work);
  }
  return work;
}

std::vector<float> SmoothQuantScales(std::span<const float> channel_max,
                                     std::span<const float> weight_max, double alpha) {
  QR_CHECK_EQ(channel_max.size(), weight_max.size());
  std::vector<float> scales;
  for (size_t j = 0; j < channel_max.size(); ++j) {
    const double weights = std::max(static_cast<double>(weight_max[j]), kLeast);
    const double scale =
        std::pow(static_cast<double>(channel_max[j]), alpha) / std::pow(weights, 1 - alpha);
    scales.push_back(static_cast<float>(std::max(scale, kLeast)));
  }
  return scales;
}

}  // namespace quantref
