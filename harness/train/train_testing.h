#pragma once

#include <string>
#include <vector>

#include "harness/model/model_testing.h"
#include "harness/model/plan_model.h"
#include "harness/train/train_oracle.h"
#include "harness/train/trainer.h"

// What the tests of training share. Only tests include this.

namespace quantref::testing {

inline PlainParameters PlainOf(Trainer& trainer) {
  PlainParameters p;
  for (const Parameter* parameter : trainer.parameters()) {
    const float* const values = parameter->value.data();
    p[parameter->name] = Plain(values, values + parameter->value.rows() * parameter->value.cols());
  }
  return p;
}

// A plan that leaves every matrix as it is; or one that rounds those of the blocks.
inline std::vector<PlannedLinear> KeepAll(const ModelConfig& config) {
  QuantizeSpec spec;
  spec.keep = {"*"};
  return PlanModel(spec, config);
}
inline std::vector<PlannedLinear> RoundAll(const ModelConfig& config, const WeightScheme& scheme) {
  QuantizeSpec spec;
  spec.weights = scheme;
  return PlanModel(spec, config);
}

}  // namespace quantref::testing
