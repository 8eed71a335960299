#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "harness/io/file_pieces.h"
#include "harness/method/quantize_model.h"
#include "harness/model/weights.h"
#include "harness/quant/plan.h"

namespace quantref {

// Quantized models as bytes, so that work of hours outlives the process: codes, scales and zero
// points in the reference layout, norms, biases, matrices that a transform changed, the layer
// report and the times. What the checkpoint has is not among them, nor what the plan says.

// Gives the bytes piece by piece, about a matrix at a time. `original`: what was quantized, as
// `plan` said. False, and nothing is given, where a matrix is in a form that has no such bytes.
bool WriteModel(const ModelWeights& original, const std::vector<PlannedLinear>& plan,
                const QuantizedModel& model, const ByteSink& sink);

// What was written, in the same layouts; nothing where the bytes are not those of a model quantized
// from these weights as planned. That codes and scales are the ones that were meant HashQuantized
// says.
std::optional<QuantizedModel> ReadModel(std::string_view bytes, const ModelWeights& original,
                                        const std::vector<PlannedLinear>& plan, size_t threads);

}  // namespace quantref
