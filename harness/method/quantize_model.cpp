#include "harness/method/quantize_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <mutex>

#include "harness/base/check.h"
#include "harness/base/clock.h"
#include "harness/base/error.h"
#include "harness/base/parallel.h"
#include "harness/base/sha256.h"
#include "harness/method/quantize_blocks.h"

namespace quantref {
namespace {

bool HeadIsTied(const ModelWeights& weights) {
  return weights.head.weight.SharesStorage(weights.embedding.weight);
}

// Linears that need nothing of each other, in parallel.
std::vector<LayerReport> RoundAll(const std::vector<PlannedLinear>& plan, const Method& method,
                                  const QuantizeOptions& options,
                                  const std::vector<Linear*>& linears) {
  std::vector<size_t> chosen;
  for (size_t i = 0; i < plan.size(); ++i) {
    if (plan[i].scheme) chosen.push_back(i);
  }
  LinearContext context;
  if (method.activations) {
    context.activations =
        ActivationFormat{method.activations->bits, method.activations->per_token, std::nullopt};
  }
  std::vector<LayerReport> layers(chosen.size());
  std::mutex mutex;
  size_t done = 0;
  ParallelFor(chosen.size(), options.threads, [&](size_t i, size_t) {
    layers[i] = RoundLinear(plan[chosen[i]], method, context, *linears[chosen[i]]);
    const std::lock_guard lock(mutex);
    if (options.progress) options.progress(++done, chosen.size(), layers[i].name);
  });
  return layers;
}

// Codes that are multiplied go into the kernels' layout, and must be what was rounded there. The
// embedding is looked up; where the head is the same matrix, both are one in either layout.
void TakeToKernels(size_t threads, bool tied, QuantizedModel& result) {
  ModelWeights& weights = result.weights;
  std::map<std::string, const LayerReport*> reports;
  for (const LayerReport& layer : result.layers) reports[layer.name] = &layer;
  const std::vector<Linear*> linears = AllLinears(weights);
  ParallelFor(linears.size(), threads, [&](size_t i, size_t) {
    Linear& linear = *linears[i];
    if (i > 0 || tied) linear.weight = linear.weight.WithKernels();
    const auto report = reports.find(linear.name);
    if (linear.weight.tiled() == nullptr || report == reports.end()) return;
    QR_CHECK_EQ(linear.weight.CodesSha256(), report->second->packed_sha256);
  });
  if (tied) weights.head.weight = weights.embedding.weight;
}

}  // namespace

QuantizedModel QuantizeModel(const ModelConfig& config, const ModelWeights& weights,
                             const std::vector<PlannedLinear>& plan, const Method& method,
                             const CalibrationData* calibration, const QuantizeOptions& options) {
  QuantizedModel result{weights};
  const bool tied = HeadIsTied(weights);
  const std::vector<Linear*> linears = AllLinears(result.weights);
  QR_CHECK_EQ(plan.size(), linears.size());
  for (size_t i = 0; i < plan.size(); ++i) QR_CHECK_EQ(plan[i].shape.name, linears[i]->name);
  if (calibration != nullptr) {
    QuantizeBlocks(config, plan, method, *calibration, options, tied, result);
  } else {
    QR_CHECK(method.transforms.empty() && !method.Needs(plan).Any());
    const Clock::time_point start = Clock::now();
    result.layers = RoundAll(plan, method, options, linears);
    result.seconds.round = Since(start);
    result.weights.embedding.activations.reset();  // it is looked up, not multiplied
  }
  if (tied) {
    result.weights.head.weight = result.weights.embedding.weight;
    if (calibration == nullptr && result.weights.head.weight.quantized() && method.activations) {
      result.weights.head.activations =
          ActivationFormat{method.activations->bits, method.activations->per_token, std::nullopt};
    }
  }
  if (options.products == Products::kKernel) TakeToKernels(options.threads, tied, result);
  return result;
}

namespace {

// What a linear is made of beyond the checkpoint.
std::string LinearHashes(const Linear& linear) {
  std::string lines;
  const auto add = [&](const std::string& hash) { lines += linear.name + " " + hash + "\n"; };
  if (linear.weight.quantized()) add(linear.weight.CodesSha256());
  if (linear.weight.owned()) {
    const Matrix<float> values = linear.weight.Decode();
    add(Sha256Hex(std::span<const float>(values.data(), values.rows() * values.cols())));
  }
  if (!linear.bias.empty()) add(Sha256Hex(std::span<const float>(linear.bias)));
  if (const auto& format = linear.activations) {
    add(fmt::format("a{} {} {}", format->bits, format->per_token,
                    format->static_scale.value_or(-1)));
  }
  return lines;
}

}  // namespace

std::string HashQuantized(const ModelWeights& weights) {
  std::string lines = LinearHashes(weights.embedding);
  for (const BlockWeights& block : weights.blocks) {
    for (const std::vector<float>& gain : block.norms) {
      if (!gain.empty()) lines += Sha256Hex(std::span<const float>(gain)) + "\n";
    }
    for (const Linear& linear : block.linears) lines += LinearHashes(linear);
  }
  return Sha256Hex(lines + LinearHashes(weights.head));
}

EffectiveBits MeasureBits(const ModelWeights& weights) {
  double block_bits = 0, block_count = 0, bits = 0, count = 0;
  for (const Linear* linear : AllLinears(weights)) {
    const double stored = static_cast<double>(linear->weight.StorageBits());
    const double size = static_cast<double>(linear->weight.rows() * linear->weight.cols());
    bits += stored;
    count += size;
    const bool in_block = linear != &weights.embedding && linear != &weights.head;
    if (!in_block && !linear->weight.quantized()) continue;
    block_bits += stored;
    block_count += size;
  }
  return {block_bits / block_count, bits / count};
}

}  // namespace quantref
