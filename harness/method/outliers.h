#pragma once

#include <cstddef>
#include <vector>

#include "harness/model/config.h"
#include "harness/model/weights.h"

namespace quantref {

// Gives a model the activation outliers of a very large one: in the same few hidden channels of
// every block, the norms' gains are multiplied and the columns that read them divided, so that the
// function stays the same while what the linears read has channels `scale` times as loud (Dettmers
// et al. 2022 describe them in models beyond 6.7 billion parameters).
struct OutlierSpec {
  double channels = 0.01;  // share of the hidden channels, rounded up; (0, 1]
  double scale = 50;       // 1e-4..1e4
  size_t seed = 0;         // which channels
  bool operator==(const OutlierSpec&) const = default;
};

// The channels, ascending.
std::vector<size_t> OutlierChannels(const OutlierSpec& spec, size_t hidden);

// Changed weights are stored as precisely as the checkpoint's. Throws Error where one leaves FP16's
// range.
void AddOutliers(const ModelConfig& config, const OutlierSpec& spec, ModelWeights& weights);

}  // namespace quantref
