// What follows from the layout of a model's blocks.
#include <algorithm>

#include "harness/model/config.h"
#include "harness/model/layout.h"

namespace quantref {

double ModelConfig::ForwardFlops(size_t tokens, size_t scored) const {
  const double n = static_cast<double>(tokens), q = static_cast<double>(heads * head_dim);
  double products = static_cast<double>(scored) * static_cast<double>(hidden * vocab);
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    const size_t sliding = layers[layer].sliding_window;
    const double window = sliding == 0 ? n : std::min(n, static_cast<double>(sliding));
    const double keys = window * (window + 1) / 2 + (n - window) * window;  // of all queries
    products += n * static_cast<double>(LayoutOf(*this, layer).Weights());
    products += 2 * q * keys;  // scores and values
  }
  return 2 * products + n * RotationFlops();
}

double ModelConfig::RotationFlops() const {
  double flops = 0;
  for (const LayerConfig& layer : layers) {
    flops += quantref::RotationFlops(layer.attention_rotation, heads * head_dim) +
             quantref::RotationFlops(layer.mlp_rotation, intermediate);
  }
  return flops;
}

size_t ModelConfig::Parameters() const {
  const bool norms_have_biases = family->norm == Family::Norm::kLayer;
  size_t count = (tied_head ? 1 : 2) * vocab * hidden + (norms_have_biases ? 2 : 1) * hidden;
  if (family->learned_positions) count += (context + kPositionOffset) * hidden;
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    const BlockLayout layout = LayoutOf(*this, layer);
    count += layout.Weights();
    for (const LinearRow& row : layout.linears) count += row.bias ? row.rows : 0;
    for (const NormRow& norm : layout.norms) count += (norm.bias ? 2 : 1) * norm.size;
  }
  return count;
}

}  // namespace quantref
