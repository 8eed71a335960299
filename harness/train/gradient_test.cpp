#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "harness/base/rng.h"
#include "harness/train/train_testing.h"

// Gradients against central differences of a forward pass in double.

namespace quantref {
namespace {

using testing::Plain;
using testing::PlainParameters;
using testing::TinyModel;

struct GradientCase {
  std::string name;
  TinyModel model;
  TrainingLoss loss;
  size_t windows = 2, length = 9;
};

TinyModel SmallModel() {
  TinyModel model;
  model.hidden = 16;
  model.intermediate = 24;
  model.head_dim = 6;
  model.vocab = 40;
  return model;
}

// Of the loss along a direction.
double Slope(const ModelConfig& config, PlainParameters p, const PlainParameters* reference,
             const std::string& name, const Plain& direction, std::span<const uint32_t> ids,
             const BatchShape& batch) {
  constexpr double kStep = 1e-4;
  Plain& values = p.at(name);
  const auto loss_at = [&](double step) {
    for (size_t i = 0; i < values.size(); ++i) values[i] += step * direction[i];
    const double loss = testing::PlainLoss(config, p, reference, ids, batch);
    for (size_t i = 0; i < values.size(); ++i) values[i] -= step * direction[i];
    return loss;
  };
  return (loss_at(kStep) - loss_at(-kStep)) / (2 * kStep);
}

// Slopes along single elements, and along a random direction: their difference from the gradient's,
// relative to them.
double RelativeError(const Parameter& parameter, Rng& rng,
                     const std::function<double(const Plain&)>& slope) {
  const size_t size = parameter.value.rows() * parameter.value.cols();
  double error = 0, square = 0;
  for (size_t probe = 0; probe < 5; ++probe) {
    Plain direction(size, 0);
    if (probe == 0) {
      for (double& value : direction) value = rng.Normal();
    } else {
      direction[rng.Below(size)] = 1;
    }
    double own = 0;
    for (size_t i = 0; i < size; ++i)
      own += direction[i] * static_cast<double>(parameter.gradient.data()[i]);
    const double other = slope(direction);
    error += (own - other) * (own - other);
    square += other * other;
  }
  return std::sqrt(error / square);
}

void CheckGradients(const GradientCase& of) {
  INFO(of.name);
  const Transformer model = testing::Tiny(of.model);
  const ModelConfig& config = model.config();
  TinyModel other = of.model;
  other.seed = 7;
  const Transformer reference = testing::Tiny(other);
  const TrainSpec spec{
      .steps = 2, .batch = of.windows, .length = of.length, .warmup = 1, .loss = of.loss};
  const std::vector<PlannedLinear> plan = testing::KeepAll(config);
  Team team(2);
  Trainer trainer(config, reference.weights(), model.weights(), plan, spec, &team, Trained::kAll);
  Trainer as_reference(config, reference.weights(), reference.weights(), plan, spec, &team,
                       Trained::kAll);
  const PlainParameters p = testing::PlainOf(trainer), r = testing::PlainOf(as_reference);
  const PlainParameters* const compared = of.loss == TrainingLoss::kKl ? &r : nullptr;
  const BatchShape batch{of.windows, of.length};
  const std::vector<uint32_t> ids = testing::RandomIds(batch.tokens(), config.vocab, 3);
  const double loss = trainer.Backward(ids);
  CHECK(loss == Approx(testing::PlainLoss(config, p, compared, ids, batch)).epsilon(1e-5));
  Rng rng(5);
  for (const Parameter* parameter : trainer.parameters()) {
    INFO(parameter->name);
    const double error = RelativeError(*parameter, rng, [&](const Plain& direction) {
      return Slope(config, p, compared, parameter->name, direction, ids, batch);
    });
    CHECK(error < 1e-3);
  }
}

TEST_CASE("gradients are the slopes of the loss in double") {
  GradientCase plain{"cross-entropy", SmallModel(), TrainingLoss::kCrossEntropy};
  CheckGradients(plain);
  GradientCase kl{"KL, biases everywhere", SmallModel(), TrainingLoss::kKl};
  kl.model.attention_bias = kl.model.mlp_bias = true;
  CheckGradients(kl);
  GradientCase tied{"tied head, a window of keys, no heads shared", SmallModel(),
                    TrainingLoss::kCrossEntropy};
  tied.model.tied = true;
  tied.model.kv_heads = tied.model.heads;
  tied.model.sliding_window = 4;
  CheckGradients(tied);
}

TEST_CASE("gradients over several tiles of tokens and of queries are the slopes, too") {
  GradientCase wide{"tiles", SmallModel(), TrainingLoss::kKl, 2, 150};
  wide.model.layers = 1;
  wide.model.attention_bias = true;
  CheckGradients(wide);
}

}  // namespace
}  // namespace quantref
