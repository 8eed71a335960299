#pragma once

#include <vector>

#include "harness/method/method.h"
#include "harness/model/config.h"
#include "harness/model/weights.h"

namespace quantref {

// A model as a method's model transforms leave it, which computes what it did before.
struct ReshapedModel {
  ModelConfig config;
  ModelWeights weights;
};

// `plan`: for Method::ModelAfter's config. What it keeps is stored in FP16 again where it was
// stored in 16 bits or in blocks of fewer; matrices that are to be rounded are FP32 where they
// changed. Throws Error where a transform cannot change the model, or a kept value leaves FP16's
// range.
ReshapedModel ReshapeModel(const ModelConfig& config, const ModelWeights& weights,
                           const Method& method, const std::vector<PlannedLinear>& plan,
                           size_t threads);

// Whether both methods, planned so, make the same of any model.
bool ReshapeAlike(const Method& a, const std::vector<PlannedLinear>& of_a, const Method& b,
                  const std::vector<PlannedLinear>& of_b);

}  // namespace quantref
