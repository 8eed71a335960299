#include "harness/method/reshape_model.h"

#include <algorithm>

#include "harness/base/check.h"
#include "harness/base/parallel.h"

namespace quantref {
namespace {

// Matrices that are as the checkpoint has them stay; FP32 numbers of one that had fewer bits do
// not.
void StoreKept(const Linear& before, Linear& after) {
  const bool small = before.weight.stored_in_16_bits() || before.weight.in_blocks();
  if (!small || after.weight.SharesStorage(before.weight)) return;
  after.weight = Weight::RoundedToHalf(after.weight.Decode().view(), after.name);
}

}  // namespace

ReshapedModel ReshapeModel(const ModelConfig& config, const ModelWeights& weights,
                           const Method& method, const std::vector<PlannedLinear>& plan,
                           size_t threads) {
  ReshapedModel model{config, weights};
  for (const ModelTransform* transform : method.model_transforms) {
    const Knobs knobs = method.KnobsOf(*transform);
    const ModelConfig next = transform->Reshape(model.config, knobs);
    transform->Apply(model.config, knobs, threads, model.weights);
    model.config = next;
  }
  std::vector<const Linear*> before = AllLinears(weights);
  const std::vector<Linear*> after = AllLinears(model.weights);
  if (before.size() < after.size()) before.push_back(&weights.head);  // no longer tied
  QR_CHECK_EQ(before.size(), after.size());
  QR_CHECK_EQ(plan.size(), after.size());
  ParallelFor(after.size(), threads, [&](size_t i, size_t) {
    if (!plan[i].scheme) StoreKept(*before[i], *after[i]);
  });
  return model;
}

bool ReshapeAlike(const Method& a, const std::vector<PlannedLinear>& of_a, const Method& b,
                  const std::vector<PlannedLinear>& of_b) {
  if (a.model_transforms != b.model_transforms) return false;
  for (const ModelTransform* transform : a.model_transforms) {
    if (!(a.KnobsOf(*transform) == b.KnobsOf(*transform))) return false;
  }
  return a.model_transforms.empty() ||
         std::equal(of_a.begin(), of_a.end(), of_b.begin(), of_b.end(),
                    [](const PlannedLinear& x, const PlannedLinear& y) {
                      return x.scheme.has_value() == y.scheme.has_value();
                    });
}

}  // namespace quantref
