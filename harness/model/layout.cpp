#include "harness/model/layout.h"

#include <fmt/format.h>

#include <algorithm>

#include "harness/base/check.h"

namespace quantref {

namespace {

std::vector<NormRow> NormRowsOf(const ModelConfig& config) {
  const Family& family = *config.family;
  const bool bias = family.norm == Family::Norm::kLayer;
  const size_t d = config.hidden;
  std::vector<NormRow> norms = {{kAttentionNorm, family.attention_norm, d, bias}};
  if (family.qk_norms) {
    norms.push_back({kQNorm, "self_attn.q_norm", config.head_dim, bias});
    norms.push_back({kKNorm, "self_attn.k_norm", config.head_dim, bias});
  }
  if (family.post_norms) norms.push_back({kPostAttentionNorm, family.post_attention_norm, d, bias});
  norms.push_back({kMlpNorm, family.mlp_norm, d, bias});
  if (family.post_norms) norms.push_back({kPostMlpNorm, family.post_mlp_norm, d, bias});
  return norms;
}

// What a softmax magnifies is not clipped: q and k, and a matrix that they are part of.
std::vector<LinearRow> LinearRowsOf(const ModelConfig& config, const LayerConfig& layer) {
  const Family& family = *config.family;
  const size_t q = config.heads * config.head_dim, kv = config.kv_heads * config.head_dim;
  const size_t d = config.hidden, m = config.intermediate;
  std::vector<LinearRow> linears;
  const auto add = [&](LinearIndex index, std::string_view name, size_t rows, size_t cols, Tap tap,
                       bool clippable) {
    linears.push_back({index, name, rows, cols, tap, layer.bias[index], clippable});
  };
  if (family.fused) {
    add(kQ, "self_attn.qkv_proj", q + 2 * kv, d, Tap::kAttentionInput, false);
  } else {
    add(kQ, "self_attn.q_proj", q, d, Tap::kAttentionInput, false);
    add(kK, "self_attn.k_proj", kv, d, Tap::kAttentionInput, false);
    add(kV, "self_attn.v_proj", kv, d, Tap::kAttentionInput, true);
  }
  add(kO, family.o, d, q, Tap::kAttentionOutput, true);
  if (family.fused) {
    add(kGate, "mlp.gate_up_proj", 2 * m, d, Tap::kMlpInput, true);
  } else {
    if (family.gated) add(kGate, "mlp.gate_proj", m, d, Tap::kMlpInput, true);
    add(kUp, family.up, m, d, Tap::kMlpInput, true);
  }
  add(kDown, family.down, d, m, Tap::kMlpHidden, true);
  return linears;
}

// v's channels are those of o's input only where query heads do not share them, and where none is
// mixed with others on the way.
std::optional<Producer> ProducerOfO(const ModelConfig& config, const LayerConfig& layer) {
  if (config.heads != config.kv_heads || layer.attention_rotation.order > 1) return std::nullopt;
  return ValueRows(config);
}

// A gate is a factor of up's channels; without one the activation is between, and ReLU alone lets
// positive factors pass.
std::optional<Producer> ProducerOfDown(const ModelConfig& config, const LayerConfig& layer) {
  const Family& family = *config.family;
  if (layer.mlp_rotation.order > 1) return std::nullopt;
  if (!family.gated && family.activation != Family::Activation::kRelu) return std::nullopt;
  return family.fused ? LinearRows{kGate, config.intermediate} : LinearRows{kUp};
}

}  // namespace

BlockLayout LayoutOf(const ModelConfig& config, size_t layer) {
  const LayerConfig& own = config.layers.at(layer);
  return {NormRowsOf(config),
          LinearRowsOf(config, own),
          {kAttentionNorm, ProducerOfO(config, own), kMlpNorm, ProducerOfDown(config, own)}};
}

LinearRows ValueRows(const ModelConfig& config) {
  const size_t behind_k = (config.heads + config.kv_heads) * config.head_dim;
  return config.family->fused ? LinearRows{kQ, behind_k} : LinearRows{kV};
}

size_t BlockLayout::PositionOf(LinearIndex linear) const {
  const auto found = std::find_if(linears.begin(), linears.end(),
                                  [&](const LinearRow& row) { return row.index == linear; });
  QR_CHECK(found != linears.end());
  return static_cast<size_t>(found - linears.begin());
}

const LinearRow& BlockLayout::row(LinearIndex linear) const { return linears[PositionOf(linear)]; }

std::vector<LinearIndex> BlockLayout::Readers(Tap tap) const {
  std::vector<LinearIndex> readers;
  for (const LinearRow& row : linears) {
    if (row.tap == tap) readers.push_back(row.index);
  }
  return readers;
}

size_t BlockLayout::Channels(Tap tap) const { return row(Readers(tap).at(0)).cols; }

std::vector<ScalingGroup> BlockLayout::ScalingGroups() const {
  std::vector<ScalingGroup> groups;
  for (const Tap tap : kAllTaps) {
    const std::optional<Producer>& producer = producers[static_cast<size_t>(tap)];
    if (producer) groups.push_back({tap, *producer, Readers(tap)});
  }
  return groups;
}

size_t BlockLayout::Weights() const {
  size_t weights = 0;
  for (const LinearRow& row : linears) weights += row.rows * row.cols;
  return weights;
}

std::string NameInModel(size_t layer, std::string_view name) {
  return fmt::format("layers.{}.{}", layer, name);
}

}  // namespace quantref
