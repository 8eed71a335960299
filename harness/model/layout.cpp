#include "harness/model/layout.h"

#include <fmt/format.h>

#include <algorithm>

#include "harness/base/check.h"

namespace quantref {

BlockLayout LayoutOf(const ModelConfig& config, size_t layer) {
  const size_t q = config.heads * config.head_dim, kv = config.kv_heads * config.head_dim;
  const size_t d = config.hidden, m = config.intermediate;
  const auto& bias = config.layers.at(layer).bias;
  BlockLayout layout;
  layout.norms = {{kAttentionNorm, "input_layernorm", d},
                  {kMlpNorm, "post_attention_layernorm", d}};
  layout.linears = {
      {kQ, "self_attn.q_proj", q, d, Tap::kAttentionInput, bias[kQ], false},
      {kK, "self_attn.k_proj", kv, d, Tap::kAttentionInput, bias[kK], false},
      {kV, "self_attn.v_proj", kv, d, Tap::kAttentionInput, bias[kV], true},
      {kO, "self_attn.o_proj", d, q, Tap::kAttentionOutput, bias[kO], true},
      {kGate, "mlp.gate_proj", m, d, Tap::kMlpInput, bias[kGate], true},
      {kUp, "mlp.up_proj", m, d, Tap::kMlpInput, bias[kUp], true},
      {kDown, "mlp.down_proj", d, m, Tap::kMlpHidden, bias[kDown], true},
  };
  // v's channels are those of o's input only where query heads do not share them.
  const bool own_values = config.heads == config.kv_heads;
  layout.producers = {kAttentionNorm, own_values ? std::optional<Producer>(kV) : std::nullopt,
                      kMlpNorm, kUp};
  return layout;
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

std::vector<LinearIndex> BlockLayout::Module(Tap tap) const {
  const Tap last = tap <= Tap::kAttentionOutput ? Tap::kAttentionOutput : Tap::kMlpHidden;
  std::vector<LinearIndex> module;
  for (const LinearRow& row : linears) {
    if (tap <= row.tap && row.tap <= last) module.push_back(row.index);
  }
  return module;
}

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
