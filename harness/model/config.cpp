#include "harness/model/config.h"

#include <algorithm>
#include <cmath>

namespace quantref {

std::array<bool, kLinears> BiasesOf(const Family& family, bool attention, bool mlp) {
  std::array<bool, kLinears> bias{};
  if (family.biases == Family::Biases::kAll) bias.fill(true);
  if (family.biases == Family::Biases::kQkv) bias[kQ] = bias[kK] = bias[kV] = true;
  if (family.biases != Family::Biases::kAsked) return bias;
  for (const LinearIndex linear : {kQ, kK, kV, kO}) bias[linear] = attention;
  for (const LinearIndex linear : {kGate, kUp, kDown}) bias[linear] = mlp;
  return bias;
}

bool ModelConfig::HasLocalRope() const {
  return std::any_of(layers.begin(), layers.end(),
                     [](const LayerConfig& layer) { return layer.local_rope; });
}

float ModelConfig::EmbeddingScale() const {
  return family->scaled_embedding ? std::sqrt(static_cast<float>(hidden)) : 1.0f;
}

}  // namespace quantref
