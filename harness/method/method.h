#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "harness/method/quantizer.h"
#include "harness/model/plan_model.h"
#include "harness/quant/plan.h"

namespace quantref {

// What a cell does to a model: transforms, then a rounder, under a plan. The plugins live as long
// as the program.
struct Method {
  std::vector<const Transform*> transforms;
  const Rounder* rounder = nullptr;
  std::vector<const Rounder*> other_rounders;         // those that overrides name
  std::map<std::string, Knobs, std::less<>> knobs{};  // by plugin; absent: the defaults
  std::optional<ActivationScheme> activations{};
  std::vector<const ModelTransform*> model_transforms{};  // before `transforms`

  // The model's config as the model transforms leave it; the plan is made for that. Throws Error
  // where one cannot change the model.
  ModelConfig ModelAfter(const ModelConfig& config) const;

  const Rounder& RounderFor(const PlannedLinear& linear) const;
  Knobs KnobsOf(const Plugin& plugin) const;

  // What must be collected for the transforms; for the rounders that this plan uses; and for both,
  // and static activation scales.
  DataNeeds TransformNeeds() const;
  DataNeeds RounderNeeds(const std::vector<PlannedLinear>& plan) const;
  DataNeeds Needs(const std::vector<PlannedLinear>& plan) const;
};

// Throws SettingError where a transform would scale what one before it has clipped.
void CheckClippedLast(const Method& method);

// Throws Error, naming the first linear, where a plugin does not support what the plan wants of it,
// and as CheckClippedLast.
// `sequential`: as CalibrationData has it.
void CheckSupports(const Method& method, const std::vector<PlannedLinear>& plan, bool sequential);

// Whether the transforms of both do the same to a block that is planned so by the one and so by the
// other, where both read the same inputs.
bool TransformAlike(const Method& a, const BlockPlan& of_a, const Method& b, const BlockPlan& of_b);

}  // namespace quantref
