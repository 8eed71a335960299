#pragma once

#include <vector>

#include "harness/model/config.h"
#include "harness/quant/plan.h"

namespace quantref {

// The matrices that a plan decides on, in the order of AllLinears: embed_tokens, those of the
// blocks, and lm_head unless it is tied to the embedding, whose fate it then shares.
std::vector<LinearShape> PlannableLinears(const ModelConfig& config);

// MakePlan for these. Of a tied head either name stands for the one matrix: it is kept where `keep`
// matches either, and an override for either counts at its place in their order. Throws Error as
// MakePlan does.
std::vector<PlannedLinear> PlanModel(const QuantizeSpec& spec, const ModelConfig& config);

}  // namespace quantref
