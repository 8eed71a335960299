#include "harness/model/plan_model.h"

#include <fmt/format.h>

#include "harness/base/glob.h"

namespace quantref {
namespace {

constexpr const char* kEmbedding = "embed_tokens";
constexpr const char* kHead = "lm_head";

// What is asked for the head is asked for the embedding.
QuantizeSpec ForBothNames(const QuantizeSpec& spec) {
  QuantizeSpec both = spec;
  both.overrides.clear();
  for (const std::string& pattern : spec.keep) {
    if (GlobMatches(pattern, kHead)) both.keep.emplace_back(kEmbedding);
  }
  for (SchemeOverride entry : spec.overrides) {
    both.overrides.push_back(entry);
    if (!GlobMatches(entry.match, kHead)) continue;
    entry.match = kEmbedding;
    both.overrides.push_back(entry);
  }
  return both;
}

}  // namespace

std::vector<LinearShape> PlannableLinears(const ModelConfig& config) {
  const size_t q = config.heads * config.head_dim, kv = config.kv_heads * config.head_dim;
  const size_t d = config.hidden, m = config.intermediate;
  std::vector<LinearShape> shapes = {{kEmbedding, config.vocab, d}};
  for (size_t layer = 0; layer < config.layers; ++layer) {
    const auto add = [&](const char* part, size_t rows, size_t cols) {
      shapes.push_back({fmt::format("layers.{}.{}_proj", layer, part), rows, cols});
    };
    add("self_attn.q", q, d);
    add("self_attn.k", kv, d);
    add("self_attn.v", kv, d);
    add("self_attn.o", d, q);
    add("mlp.gate", m, d);
    add("mlp.up", m, d);
    add("mlp.down", d, m);
  }
  if (!config.tied_head) shapes.push_back({kHead, config.vocab, d});
  return shapes;
}

std::vector<PlannedLinear> PlanModel(const QuantizeSpec& spec, const ModelConfig& config) {
  std::vector<LinearShape> shapes = PlannableLinears(config);
  if (!config.tied_head) return MakePlan(spec, shapes);
  shapes.push_back({kHead, config.vocab, config.hidden});  // patterns may name it
  std::vector<PlannedLinear> plan = MakePlan(ForBothNames(spec), shapes);
  plan.pop_back();
  return plan;
}

}  // namespace quantref
