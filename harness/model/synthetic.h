#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "harness/model/config.h"
#include "harness/model/weights.h"
#include "harness/quant/activation.h"
#include "harness/quant/plan.h"

namespace quantref {

// Models of known shapes with random weights, made straight in the form that they are computed
// from: to be timed, where the real weights are not at hand or too large to be.

struct SyntheticShape {
  std::string_view name;
  ModelConfig config;
};
std::span<const SyntheticShape> SyntheticShapes();
const ModelConfig& FindSyntheticShape(std::string_view name);  // one of those

// Bytes of a model's matrices under the plan, quantized ones in the kernels' layout; without a
// plan, of all parameters in FP16.
size_t SyntheticBytes(const ModelConfig& config, const std::vector<PlannedLinear>& plan);

// Weights that do not come from a checkpoint, with the memory that they lie in.
struct SyntheticWeights {
  ModelWeights weights;
  std::vector<std::shared_ptr<const void>> memory;
};

// Embedding and head (one matrix where they are tied) as random FP16 numbers, norms as ones; blocks
// without weights. The same bits for any number of threads.
SyntheticWeights MakeSyntheticFrame(const ModelConfig& config, uint64_t seed, size_t threads);

// The frame, which is shared, with random FP16 weights in its blocks; or with what the plan says:
// random codes in the kernels' layout, FP16 where it keeps a matrix, and activations rounded.
SyntheticWeights MakeSyntheticReference(const ModelConfig& config, const SyntheticWeights& frame,
                                        uint64_t seed, size_t threads);
SyntheticWeights MakeSynthetic(const ModelConfig& config, const SyntheticWeights& frame,
                               const std::vector<PlannedLinear>& plan,
                               const std::optional<ActivationScheme>& activations, uint64_t seed,
                               size_t threads);

}  // namespace quantref
