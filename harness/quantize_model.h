#pragma once

#include <functional>
#include <string>
#include <vector>

#include "harness/model/weights.h"
#include "harness/quant/plan.h"
#include "harness/quantizer.h"

namespace quantref {

// What happened to one linear.
struct LayerReport {
  std::string name;
  WeightScheme scheme;
  double effective_bits = 0;  // stored bits per weight, scales and zeros included
  double weight_mse = 0;      // mean squared error of its weights
  double seconds = 0;
};

struct QuantizedModel {
  ModelWeights weights;
  std::vector<LayerReport> layers;  // the quantized ones, in the model's order
};

// The linears that a plan decides on: embed_tokens, those of the blocks, and lm_head unless it is
// tied to the embedding, whose fate it then shares.
std::vector<LinearShape> PlannableLinears(const ModelWeights& weights);

// Throws Error as MakePlan does. For a tied head, patterns may name embed_tokens or lm_head alike.
std::vector<PlannedLinear> PlanFor(const QuantizeSpec& spec, const ModelWeights& weights);

// Rounds each planned linear; the result does not depend on `threads`. progress(done, total) counts
// linears and is called from the worker threads one at a time; it may throw to stop.
QuantizedModel QuantizeModel(const ModelWeights& weights, const std::vector<PlannedLinear>& plan,
                             const Rounder& rounder, size_t threads,
                             const std::function<void(size_t done, size_t total)>& progress);

// SHA-256 over the names and the packed form of every quantized matrix, in the model's order.
std::string HashPacked(const ModelWeights& weights);

// Bits per weight. `blocks`: over the linears of the blocks and whatever else is quantized, so that
// a kept layer counts with its 16 bits; `model`: over every matrix of the model.
struct EffectiveBits {
  double blocks = 0, model = 0;
};
EffectiveBits MeasureBits(const ModelWeights& weights);

}  // namespace quantref
