#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/method/calibrate.h"
#include "harness/method/method.h"
#include "harness/method/quantize_task.h"
#include "harness/model/weights.h"
#include "harness/quant/plan.h"

namespace quantref {

struct QuantizeOptions {
  size_t threads = 1;
  // Called from the worker threads, one at a time; may throw to stop. `what` is at work: a linear's
  // name, or "layers.3, awq".
  std::function<void(size_t done, size_t total, std::string_view what)> progress{};
  // What the quantized model's products will go through: kKernel keeps codes in the kernels' layout
  // alone, where these can take them; kSimulated in the reference layout.
  Products products = Products::kSimulated;
};

// Quantizes each planned linear; the result does not depend on the number of threads. With
// calibration data block after block: statistics of the block's inputs, transforms, rounding, and
// on with what the quantized block gives (or the reference, see CalibrationData). Without (nullptr)
// the method must need none, and there are no output errors in the report.
QuantizedModel QuantizeModel(const ModelConfig& config, const ModelWeights& weights,
                             const std::vector<PlannedLinear>& plan, const Method& method,
                             const CalibrationData* calibration, const QuantizeOptions& options);

// QuantizeModel for each task, with the same bits as alone, whatever the others are; but what
// several ask for of the same inputs is done once: passes over the calibration text, sums,
// searches. Tasks of one calibration text read the same inputs in every block where it is not
// `sequential`; where it is, in the first block, and on as long as their quantized blocks are the
// same. Hidden states are held as often as MostStores says.
// `share`: processes that quantize the same tasks together, each with a part of the calibration
// samples; nullptr: this one alone. All of them get all models, with the same bits as alone; a task
// that fails on one of them fails on all. What callbacks throw, or the passes over the samples,
// must reach all: they wait for each other.
void QuantizeModels(const ModelConfig& config, const ModelWeights& weights,
                    std::span<const QuantizeTask> tasks, size_t threads,
                    const QuantizeCallbacks& callbacks, SampleShare* share = nullptr);

// SHA-256 over what quantizing may change, in the model's order: packed matrices, norms, matrices
// that are no longer the checkpoint's, and how activations are rounded. Of a checkpoint of its own
// that stands for a quantized `original`: those whose numbers are others than the original's.
std::string HashQuantized(const ModelWeights& weights, const ModelWeights* original = nullptr);

// Bits per weight. `blocks`: over the linears of the blocks and whatever else is quantized, so that
// a kept layer counts with its 16 bits; `model`: over every matrix of the model.
struct EffectiveBits {
  double blocks = 0, model = 0;
};
EffectiveBits MeasureBits(const ModelWeights& weights);

}  // namespace quantref
