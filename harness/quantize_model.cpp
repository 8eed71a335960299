#include "harness/quantize_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <mutex>

#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/base/parallel.h"
#include "harness/base/sha256.h"

namespace quantref {
namespace {

bool HeadIsTied(const ModelWeights& weights) {
  return weights.head.weight.SharesStorage(weights.embedding.weight);
}

// Pointers into `weights` in the order of PlannableLinears.
template <typename Weights, typename LinearPointer>
std::vector<LinearPointer> Plannable(Weights& weights) {
  std::vector<LinearPointer> linears = {&weights.embedding};
  for (auto& block : weights.blocks) {
    for (LinearPointer linear : block.linears()) linears.push_back(linear);
  }
  if (!HeadIsTied(weights)) linears.push_back(&weights.head);
  return linears;
}

double MeanSquaredError(MatrixView<const float> weights, const PackedMatrix& packed) {
  std::vector<float> decoded(weights.cols());
  double sum = 0;
  for (size_t r = 0; r < weights.rows(); ++r) {
    packed.DecodeRow(r, decoded);
    for (size_t c = 0; c < decoded.size(); ++c) {
      const double error = static_cast<double>(weights(r, c)) - static_cast<double>(decoded[c]);
      sum += error * error;
    }
  }
  return sum / static_cast<double>(weights.rows() * weights.cols());
}

LayerReport RoundLinear(const PlannedLinear& planned, const Rounder& rounder, Linear& linear) {
  using Clock = std::chrono::steady_clock;
  const Matrix<float> values = linear.weight.Decode();
  const Clock::time_point start = Clock::now();
  try {
    const auto packed = std::make_shared<PackedMatrix>(
        rounder.Round({linear.name, values.view(), *planned.scheme}));
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    QR_CHECK(packed->rows() == values.rows() && packed->cols() == values.cols());
    linear.weight = Weight(packed);
    return {linear.name, *planned.scheme, packed->EffectiveBits(),
            MeanSquaredError(values.view(), *packed), seconds};
  } catch (const Interrupted&) {
    throw;
  } catch (const Error& error) {
    throw Error(fmt::format("{} cannot round it: {}", rounder.name(), error.problem()), linear.name,
                error.hint());
  }
}

}  // namespace

std::vector<LinearShape> PlannableLinears(const ModelWeights& weights) {
  std::vector<LinearShape> shapes;
  for (const Linear* linear : Plannable<const ModelWeights, const Linear*>(weights)) {
    shapes.push_back({linear->name, linear->weight.rows(), linear->weight.cols()});
  }
  return shapes;
}

std::vector<PlannedLinear> PlanFor(const QuantizeSpec& spec, const ModelWeights& weights) {
  std::vector<LinearShape> linears = PlannableLinears(weights);
  if (!HeadIsTied(weights)) return MakePlan(spec, linears);
  // One matrix with two names: a pattern for the head counts for the embedding at its place in
  // the order.
  const std::string &embedding = weights.embedding.name, &head = weights.head.name;
  QuantizeSpec both = spec;
  both.overrides.clear();
  for (const std::string& pattern : spec.keep) {
    if (GlobMatches(pattern, head)) both.keep.push_back(embedding);
  }
  for (SchemeOverride entry : spec.overrides) {
    both.overrides.push_back(entry);
    if (!GlobMatches(entry.match, head)) continue;
    entry.match = embedding;
    both.overrides.push_back(entry);
  }
  linears.push_back({head, weights.head.weight.rows(), weights.head.weight.cols()});
  std::vector<PlannedLinear> plan = MakePlan(both, linears);
  plan.pop_back();
  return plan;
}

QuantizedModel QuantizeModel(const ModelWeights& weights, const std::vector<PlannedLinear>& plan,
                             const Rounder& rounder, size_t threads,
                             const std::function<void(size_t, size_t)>& progress) {
  QuantizedModel result{weights, {}};
  const bool tied = HeadIsTied(weights);
  const std::vector<Linear*> linears = Plannable<ModelWeights, Linear*>(result.weights);
  QR_CHECK_EQ(plan.size(), linears.size());
  std::vector<size_t> chosen;
  for (size_t i = 0; i < plan.size(); ++i) {
    QR_CHECK_EQ(plan[i].shape.name, linears[i]->name);
    if (plan[i].scheme) chosen.push_back(i);
  }
  result.layers.resize(chosen.size());
  std::mutex mutex;
  size_t done = 0;
  ParallelFor(chosen.size(), threads, [&](size_t i, size_t) {
    result.layers[i] = RoundLinear(plan[chosen[i]], rounder, *linears[chosen[i]]);
    const std::lock_guard lock(mutex);
    if (progress) progress(++done, chosen.size());
  });
  if (tied) result.weights.head.weight = result.weights.embedding.weight;
  return result;
}

std::string HashPacked(const ModelWeights& weights) {
  std::string lines;
  for (const Linear* linear : Plannable<const ModelWeights, const Linear*>(weights)) {
    if (linear->weight.quantized()) {
      lines += fmt::format("{} {}\n", linear->name, linear->weight.packed()->Sha256());
    }
  }
  return Sha256Hex(lines);
}

EffectiveBits MeasureBits(const ModelWeights& weights) {
  double block_bits = 0, block_count = 0, bits = 0, count = 0;
  for (const Linear* linear : Plannable<const ModelWeights, const Linear*>(weights)) {
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
