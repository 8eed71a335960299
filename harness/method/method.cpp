#include "harness/method/method.h"

#include <fmt/format.h>

#include <algorithm>

#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/base/setting_error.h"

namespace quantref {

ModelConfig Method::ModelAfter(const ModelConfig& config) const {
  ModelConfig after = config;
  for (const ModelTransform* transform : model_transforms)
    after = transform->Reshape(after, KnobsOf(*transform));
  return after;
}

const Rounder& Method::RounderFor(const PlannedLinear& linear) const {
  if (linear.method.empty()) return *rounder;
  for (const Rounder* other : other_rounders) {
    if (other->name() == linear.method) return *other;
  }
  QR_CHECK(false);
  return *rounder;
}

Knobs Method::KnobsOf(const Plugin& plugin) const {
  const auto found = knobs.find(plugin.name());
  return found != knobs.end() ? found->second : Knobs(plugin.knobs());
}

DataNeeds Method::TransformNeeds() const {
  DataNeeds needs;
  for (const Transform* transform : transforms) {
    needs = needs | transform->needs(KnobsOf(*transform));
  }
  return needs;
}

DataNeeds Method::RounderNeeds(const std::vector<PlannedLinear>& plan) const {
  DataNeeds needs;
  for (const PlannedLinear& linear : plan) {
    if (!linear.scheme) continue;
    const Rounder& rounder_of = RounderFor(linear);
    needs = needs | rounder_of.needs(KnobsOf(rounder_of));
  }
  return needs;
}

DataNeeds Method::Needs(const std::vector<PlannedLinear>& plan) const {
  DataNeeds needs = TransformNeeds() | RounderNeeds(plan);
  needs.channel_max = needs.channel_max || (activations && !activations->dynamic);
  return needs;
}

void CheckClippedLast(const Method& method) {
  for (size_t i = 0; i + 1 < method.transforms.size(); ++i) {
    const Transform &first = *method.transforms[i], &second = *method.transforms[i + 1];
    if (!first.Clips(method.KnobsOf(first))) continue;
    throw SettingError(fmt::format("expected what clips weights last, found {} behind {}, which "
                                   "would scale what is clipped",
                                   second.name(), first.name()),
                       "transforms",
                       &first == &second ? fmt::format("name {} once", first.name())
                                         : fmt::format("write {}+{}, or switch {}.clip off",
                                                       second.name(), first.name(), first.name()));
  }
}

void CheckSupports(const Method& method, const std::vector<PlannedLinear>& plan, bool sequential) {
  CheckClippedLast(method);
  std::vector<const Plugin*> transforms(method.model_transforms.begin(),
                                        method.model_transforms.end());
  transforms.insert(transforms.end(), method.transforms.begin(), method.transforms.end());
  for (const PlannedLinear& linear : plan) {
    if (!linear.scheme) continue;
    std::vector<const Plugin*> plugins = transforms;
    plugins.push_back(&method.RounderFor(linear));
    for (const Plugin* plugin : plugins) {
      const std::string why = plugin->WhyNot(*linear.scheme);
      if (why.empty()) continue;
      throw Error(fmt::format("{} cannot be used with {}: it {}", plugin->name(),
                              SchemeName(*linear.scheme), why),
                  linear.shape.name, "choose another method, or another format for these weights");
    }
  }
  if (sequential || !method.RounderNeeds(plan).cross) return;
  throw SettingError(
      "asymmetric calibration compares what quantized blocks give with what the reference's give, "
      "and calibration that is not sequential reads the reference's alone",
      "sequential", "set it to true, or asymmetric to false");
}

bool TransformAlike(const Method& a, const BlockPlan& of_a, const Method& b,
                    const BlockPlan& of_b) {
  if (a.transforms != b.transforms || a.activations != b.activations) return false;
  for (const Transform* transform : a.transforms) {
    if (!(a.KnobsOf(*transform) == b.KnobsOf(*transform))) return false;
  }
  return std::equal(of_a.linears.begin(), of_a.linears.end(), of_b.linears.begin(),
                    of_b.linears.end(),
                    [](const auto& x, const auto& y) { return x.scheme == y.scheme; });
}

}  // namespace quantref
