#pragma once

#include <optional>
#include <span>
#include <vector>

#include "harness/model/layout.h"
#include "harness/quant/activation.h"
#include "harness/quant/plan.h"

namespace quantref {

// The matrices that a plan decides on, in the order of AllLinears: embed_tokens, those of the
// blocks, and lm_head unless it is tied to the embedding, whose fate it then shares.
std::vector<LinearShape> PlannableLinears(const ModelConfig& config);

// MakePlan for these. Of a tied head either name stands for the one matrix: it is kept where `keep`
// matches either, and an override for either counts at its place in their order. Throws Error as
// MakePlan does.
std::vector<PlannedLinear> PlanModel(const QuantizeSpec& spec, const ModelConfig& config);

// Throws Error where the activations cannot be rounded so: channels beside outliers are those of a
// whole window, and a head does not read one at once.
void CheckActivations(const std::vector<PlannedLinear>& plan, const ModelConfig& config,
                      const std::optional<ActivationScheme>& activations);

// Bytes of the FP16 weights that the plan's matrices keep beside their codes for such activations.
size_t OutlierWeightBytes(const std::vector<PlannedLinear>& plan,
                          const std::optional<ActivationScheme>& activations);

// What a model's plan says of one block.
struct BlockPlan {
  BlockLayout layout;
  std::span<const PlannedLinear> linears;  // one a row of the layout

  const PlannedLinear& operator[](LinearIndex linear) const {
    return linears[layout.PositionOf(linear)];
  }
};
// `plan`: of all that PlannableLinears names; it must outlive the result.
BlockPlan PlanOfBlock(const ModelConfig& config, std::span<const PlannedLinear> plan, size_t layer);

}  // namespace quantref
