#include "harness/method/outliers.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

#include "harness/base/rng.h"
#include "harness/method/calibrated_block.h"

namespace quantref {

std::vector<size_t> OutlierChannels(const OutlierSpec& spec, size_t hidden) {
  std::vector<size_t> channels(hidden);
  std::iota(channels.begin(), channels.end(), size_t{0});
  Rng rng(spec.seed);
  Shuffle(std::span(channels), rng);
  channels.resize(static_cast<size_t>(std::ceil(spec.channels * static_cast<double>(hidden))));
  std::sort(channels.begin(), channels.end());
  return channels;
}

void AddOutliers(const ModelConfig& config, const OutlierSpec& spec, ModelWeights& weights) {
  std::vector<float> scales(config.hidden, 1.0f);
  for (const size_t channel : OutlierChannels(spec, config.hidden)) {
    scales[channel] = static_cast<float>(1 / spec.scale);
  }
  for (size_t layer = 0; layer < weights.blocks.size(); ++layer) {
    BlockWeights& block = weights.blocks[layer];
    const BlockWeights before = block;
    const BlockLayout layout = LayoutOf(config, layer);
    for (const ScalingGroup& group : layout.ScalingGroups()) {
      if (group.of_norm()) ScaleChannels(block, group, scales);
    }
    for (const LinearRow& row : layout.linears)
      StoreAsBefore(before.linears[row.index], block.linears[row.index]);
  }
}

}  // namespace quantref
