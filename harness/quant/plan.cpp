#include "harness/quant/plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "harness/base/glob.h"
#include "harness/base/setting_error.h"
#include "harness/quant/format.h"

namespace quantref {
namespace {

void CheckMatchesSome(const std::string& pattern, const char* setting,
                      const std::vector<LinearShape>& linears) {
  const bool matches = std::any_of(linears.begin(), linears.end(), [&](const LinearShape& linear) {
    return GlobMatches(pattern, linear.name);
  });
  if (matches) return;
  throw SettingError(
      fmt::format("the pattern '{}' matches no weight of this model", pattern), setting,
      "names look like embed_tokens, lm_head, layers.0.self_attn.q_proj, layers.0.mlp.down_proj");
}

WeightScheme Override(WeightScheme scheme, const SchemeOverride& with) {
  if (with.format != nullptr && with.format != scheme.format) scheme = SchemeOf(*with.format);
  scheme.bits = with.bits.value_or(scheme.bits);
  if (with.group) {
    scheme.granularity = Granularity::kGroup;
    scheme.group = *with.group;
  }
  scheme.granularity = with.granularity.value_or(scheme.granularity);
  scheme.symmetric = with.symmetric.value_or(scheme.symmetric);
  scheme.full_range = with.full_range.value_or(scheme.full_range);
  scheme.zero_in_range = with.zero_in_range.value_or(scheme.zero_in_range);
  scheme.double_quant = with.double_quant.value_or(scheme.double_quant);
  return scheme;
}

PlannedLinear PlanOne(const QuantizeSpec& spec, const LinearShape& shape) {
  PlannedLinear planned{shape, spec.weights};
  for (const std::string& pattern : spec.keep) {
    if (GlobMatches(pattern, shape.name)) planned.scheme.reset();
  }
  for (const SchemeOverride& entry : spec.overrides) {
    if (!GlobMatches(entry.match, shape.name)) continue;
    planned.scheme = entry.keep ? std::nullopt : std::optional(Override(spec.weights, entry));
    planned.method = entry.method;
  }
  if (spec.none) planned.scheme.reset();
  return planned;
}

}  // namespace

bool QuantizesAny(const std::vector<PlannedLinear>& plan) {
  return std::any_of(plan.begin(), plan.end(),
                     [](const PlannedLinear& linear) { return linear.scheme.has_value(); });
}

std::vector<PlannedLinear> MakePlan(const QuantizeSpec& spec,
                                    const std::vector<LinearShape>& linears) {
  for (const std::string& pattern : spec.keep) CheckMatchesSome(pattern, "keep", linears);
  for (const SchemeOverride& entry : spec.overrides)
    CheckMatchesSome(entry.match, "overrides", linears);
  std::vector<PlannedLinear> plan;
  for (const LinearShape& linear : linears) {
    plan.push_back(PlanOne(spec, linear));
    if (plan.back().scheme) CheckApplies(*plan.back().scheme, linear.name);
  }
  return plan;
}

}  // namespace quantref
