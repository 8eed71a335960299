#include "harness/method/method.h"

#include <algorithm>

#include "harness/base/check.h"

namespace quantref {

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
