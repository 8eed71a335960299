#include "harness/model/plan_model.h"

#include <fmt/format.h>

#include "harness/base/glob.h"
#include "harness/base/setting_error.h"

namespace quantref {
namespace {

// What is asked for the head is asked for the embedding.
QuantizeSpec ForBothNames(const QuantizeSpec& spec) {
  QuantizeSpec both = spec;
  both.overrides.clear();
  for (const std::string& pattern : spec.keep) {
    if (GlobMatches(pattern, kHeadName)) both.keep.emplace_back(kEmbeddingName);
  }
  for (SchemeOverride entry : spec.overrides) {
    both.overrides.push_back(entry);
    if (!GlobMatches(entry.match, kHeadName)) continue;
    entry.match = kEmbeddingName;
    both.overrides.push_back(entry);
  }
  return both;
}

}  // namespace

std::vector<LinearShape> PlannableLinears(const ModelConfig& config) {
  std::vector<LinearShape> shapes = {{kEmbeddingName, config.vocab, config.hidden}};
  for (size_t layer = 0; layer < config.layers.size(); ++layer) {
    for (const LinearRow& row : LayoutOf(config, layer).linears)
      shapes.push_back({NameInModel(layer, row.name), row.rows, row.cols});
  }
  if (!config.tied_head) shapes.push_back({kHeadName, config.vocab, config.hidden});
  return shapes;
}

std::vector<PlannedLinear> PlanModel(const QuantizeSpec& spec, const ModelConfig& config) {
  std::vector<LinearShape> shapes = PlannableLinears(config);
  if (!config.tied_head) return MakePlan(spec, shapes);
  shapes.push_back({kHeadName, config.vocab, config.hidden});  // patterns may name it
  std::vector<PlannedLinear> plan = MakePlan(ForBothNames(spec), shapes);
  plan.pop_back();
  return plan;
}

void CheckActivations(const std::vector<PlannedLinear>& plan, const ModelConfig& config,
                      const std::optional<ActivationScheme>& activations) {
  const PlannedLinear& head = config.tied_head ? plan.front() : plan.back();
  if (!activations || !head.scheme) return;
  const auto refuse = [&](const char* what, const char* setting, const char* hint) {
    throw SettingError(fmt::format("{} of whole windows, and the head ({}), which is to be "
                                   "quantized, reads them in parts",
                                   what, head.shape.name),
                       setting, fmt::format("keep {}, {}", head.shape.name, hint));
  };
  if (activations->outliers)
    refuse("outlier channels are those", "outlier_threshold", "as LLM.int8() does");
  if (!activations->per_token && activations->dynamic)
    refuse("activations have scales", "per_token",
           "or take scales of tokens, or of the calibration text");
}

size_t OutlierWeightBytes(const std::vector<PlannedLinear>& plan,
                          const std::optional<ActivationScheme>& activations) {
  const std::optional<ActivationFormat> format = DynamicFormat(activations);
  if (!format || !format->KeepsWeights()) return 0;
  size_t bytes = 0;
  for (const PlannedLinear& linear : plan) {
    if (linear.scheme && linear.shape.name != kEmbeddingName)
      bytes += sizeof(uint16_t) * linear.shape.rows * linear.shape.cols;
  }
  return bytes;
}

BlockPlan PlanOfBlock(const ModelConfig& config, std::span<const PlannedLinear> plan,
                      size_t layer) {
  size_t first = 1;  // behind the embedding
  for (size_t i = 0; i < layer; ++i) first += LayoutOf(config, i).linears.size();
  BlockLayout layout = LayoutOf(config, layer);
  const std::span<const PlannedLinear> linears = plan.subspan(first, layout.linears.size());
  return {std::move(layout), linears};
}

}  // namespace quantref
