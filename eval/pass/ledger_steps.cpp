#include "eval/pass/ledger_steps.h"

#include <algorithm>

namespace quantref {
namespace {

constexpr char kWeightStep[] = "weights", kActivationStep[] = "activations",
               kCacheStep[] = "kv_cache", kKernelStep[] = "kernels";

bool HasOtherWeights(const ModelWeights& own, const ModelWeights& reference) {
  const std::vector<const Linear*> a = AllLinears(own), b = AllLinears(reference);
  return !std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Linear* x, const Linear* y) {
    return x->weight.SharesStorage(y->weight) && x->adapter == y->adapter;
  });
}

bool RoundsActivations(const ModelWeights& weights) {
  const std::vector<const Linear*> linears = AllLinears(weights);
  return std::any_of(linears.begin(), linears.end(),
                     [](const Linear* linear) { return linear->activations.has_value(); });
}

}  // namespace

std::vector<std::string> LedgerSteps(const GroupContext& group, const GroupCell& cell) {
  const ModelWeights& weights = cell.quantized.weights;
  std::vector<std::string> steps;
  if (HasOtherWeights(weights, group.model->weights)) steps.emplace_back(kWeightStep);
  if (RoundsActivations(weights)) steps.emplace_back(kActivationStep);
  if (weights.kv_cache) steps.emplace_back(kCacheStep);
  if (cell.path.UsesKernels()) steps.emplace_back(kKernelStep);
  return steps;
}

std::vector<LedgerRun> RunsBetween(const GroupContext& group, const Pass& cells) {
  std::vector<LedgerRun> runs;
  if (!group.options.ledger.asked) return runs;
  for (const GroupCell& cell : cells) {
    if (cell.spec == nullptr) continue;
    const std::vector<std::string> steps = LedgerSteps(group, cell);
    for (size_t s = 0; s + 1 < steps.size(); ++s) runs.push_back({&cell, steps[s]});
  }
  return runs;
}

ModelWeights WeightsOf(const LedgerRun& run) {
  ModelWeights weights = run.cell->quantized.weights;
  if (run.step == kWeightStep) {
    for (Linear* linear : AllLinears(weights)) linear->activations.reset();
    weights.head.activations.reset();  // of a tied one, too
  }
  if (run.step != kCacheStep) weights.kv_cache.reset();
  return weights;
}

std::vector<LedgerStep> StepsOf(const GroupContext& group, const ScoreTable& scores,
                                const Pass& cells, const GroupCell& cell) {
  const std::vector<LedgerRun> runs = RunsBetween(group, cells);
  const size_t first = scores.size() - runs.size();
  std::vector<LedgerStep> steps;
  for (size_t r = 0; r < runs.size(); ++r) {
    if (runs[r].cell == &cell)
      steps.push_back({runs[r].step, Measured(scores[first + r], group.windows)});
  }
  const std::vector<std::string> names = LedgerSteps(group, cell);
  if (!names.empty()) steps.push_back({names.back(), Measured(scores[cell.model], group.windows)});
  return steps;
}

}  // namespace quantref
