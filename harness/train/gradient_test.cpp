#include <catch2/catch.hpp>
#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "harness/base/half.h"
#include "harness/base/rng.h"
#include "harness/quant/grid.h"
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

// Of loss(p) along a direction of the parameter.
double Slope(PlainParameters p, const std::string& name, const Plain& direction,
             const std::function<double(const PlainParameters&)>& loss_of) {
  constexpr double kStep = 1e-4;
  Plain& values = p.at(name);
  const auto loss_at = [&](double step) {
    for (size_t i = 0; i < values.size(); ++i) values[i] += step * direction[i];
    const double loss = loss_of(p);
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

// Of the trainer's gradients with respect to p, the values of its parameters.
void CheckSlopes(Trainer& trainer, const PlainParameters& p,
                 const std::function<double(const PlainParameters&)>& loss_of) {
  Rng rng(5);
  for (const Parameter* parameter : trainer.parameters()) {
    INFO(parameter->name);
    const double error = RelativeError(*parameter, rng, [&](const Plain& direction) {
      return Slope(p, parameter->name, direction, loss_of);
    });
    CHECK(error < 1e-3);
  }
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
  const auto loss_of = [&](const PlainParameters& of_p) {
    return testing::PlainLoss(config, of_p, compared, ids, batch);
  };
  CHECK(trainer.Backward(ids) == Approx(loss_of(p)).epsilon(1e-5));
  CheckSlopes(trainer, p, loss_of);
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

WeightScheme ThreeBits() {
  WeightScheme scheme;
  scheme.bits = 3;
  scheme.group = 8;
  return scheme;
}

// What is not trained, and all matrices as they are.
PlainParameters AllOf(const ModelConfig& config, const ModelWeights& weights) {
  const TrainSpec spec{.steps = 2, .batch = 1, .length = 2, .warmup = 1};
  const auto keep = testing::KeepAll(config);
  Trainer trainer(config, weights, weights, keep, spec, nullptr, Trained::kAll);
  return testing::PlainOf(trainer);
}

// W + scale B A for every adapter.
PlainParameters WithAdapters(PlainParameters all, const PlainParameters& adapters,
                             const LoraSpec& lora) {
  constexpr std::string_view kEnd = ".lora_A";
  for (const auto& [name, a] : adapters) {
    if (!name.ends_with(kEnd)) continue;
    const std::string matrix = name.substr(0, name.size() - kEnd.size());
    const Plain& b = adapters.at(matrix + ".lora_B");
    Plain& w = all.at(matrix);
    const size_t in = a.size() / lora.rank;
    for (size_t i = 0; i < w.size(); ++i) {
      for (size_t r = 0; r < lora.rank; ++r)
        w[i] += lora.alpha / static_cast<double>(lora.rank) * b[i / in * lora.rank + r] *
                a[r * in + i % in];
    }
  }
  return all;
}

TEST_CASE("gradients of adapters are the slopes of the loss of W + scale B A") {
  TinyModel model = SmallModel();
  model.attention_bias = true;
  const Transformer tiny = testing::Tiny(model);
  const ModelConfig& config = tiny.config();
  ModelWeights rounded = tiny.weights();
  for (BlockWeights& block : rounded.blocks) {
    for (Linear& linear : block.linears)
      linear.weight = Weight(std::make_shared<const PackedMatrix>(
          RoundToNearest(linear.weight.Decode().view(), ThreeBits())));
  }
  const TrainSpec spec{.steps = 2,
                       .batch = 2,
                       .length = 9,
                       .warmup = 1,
                       .loss = TrainingLoss::kCrossEntropy,
                       .lora = LoraSpec{.rank = 3, .alpha = 5}};
  const auto plan = testing::RoundAll(config, ThreeBits());
  Team team(2);
  Trainer trainer(config, tiny.weights(), rounded, plan, spec, &team);
  Rng rng(9);
  for (Parameter* parameter : trainer.parameters()) {  // B is zero, and hides A's gradient
    const size_t size = parameter->value.rows() * parameter->value.cols();
    for (size_t i = 0; i < size; ++i)
      parameter->value.data()[i] = static_cast<float>(0.2 * rng.Normal());
  }
  const PlainParameters all = AllOf(config, rounded);
  const std::vector<uint32_t> ids = testing::RandomIds(18, config.vocab, 3);
  const auto loss_of = [&](const PlainParameters& adapters) {
    return testing::PlainLoss(config, WithAdapters(all, adapters, *spec.lora), nullptr, ids,
                              {spec.batch, spec.length});
  };
  const PlainParameters p = testing::PlainOf(trainer);
  CHECK(p.size() == 2 * 7 * config.layers.size());
  CHECK(trainer.Backward(ids) == Approx(loss_of(p)).epsilon(1e-5));
  CheckSlopes(trainer, p, loss_of);
}

// A matrix rounded by scales of groups of eight, each weight with the distance to its code as it
// was for the weights and scales `at`: whose slopes LSQ takes for those of rounding.
Plain SurrogateOf(const Plain& w, const Plain& scales, const Plain& w_at, const Plain& scales_at,
                  const std::vector<int>& zeros) {
  Plain values(w.size());
  for (size_t i = 0; i < w.size(); ++i) {
    const size_t group = i / 8;
    const double lowest = -zeros[group], highest = 7 - zeros[group], q = w_at[i] / scales_at[group];
    values[i] = q <= lowest    ? scales[group] * lowest
                : q >= highest ? scales[group] * highest
                               : w[i] + scales[group] * (std::nearbyint(q) - q);
  }
  return values;
}

TEST_CASE("gradients of learned scales and their weights are LSQ's slopes") {
  const Transformer tiny = testing::Tiny(SmallModel());
  const ModelConfig& config = tiny.config();
  const TrainSpec spec{
      .steps = 2, .batch = 2, .length = 9, .warmup = 1, .scales = TrainedScales::kLearned};
  const auto plan = testing::RoundAll(config, ThreeBits());
  Team team(2);
  Trainer trainer(config, tiny.weights(), tiny.weights(), plan, spec, &team);
  std::map<std::string, std::vector<int>> zeros;
  const PlainParameters all = AllOf(config, tiny.weights());
  for (Parameter* parameter : trainer.parameters()) {
    if (!parameter->name.ends_with(".scale")) continue;
    const std::string matrix = parameter->name.substr(0, parameter->name.size() - 6);
    const Plain& w = all.at(matrix);
    const std::vector<float> values(w.begin(), w.end());
    const size_t groups = parameter->value.cols(), rows = parameter->value.rows();
    zeros[matrix] = MakeLearnedScales(matrix, {values.data(), rows, groups * 8}, ThreeBits()).zeros;
    for (size_t i = 0; i < rows * groups; ++i)  // so that weights are cut on both sides
      parameter->value.data()[i] = RoundToHalf(0.7f * parameter->value.data()[i]);
  }
  const PlainParameters at = testing::PlainOf(trainer), reference = all;
  const std::vector<uint32_t> ids = testing::RandomIds(18, config.vocab, 3);
  const auto loss_of = [&](const PlainParameters& p) {
    PlainParameters rounded = all;
    for (const auto& [name, values] : p) rounded[name] = values;
    for (const auto& [matrix, zero] : zeros) {
      const std::string scale = matrix + ".scale";
      rounded[matrix] = SurrogateOf(p.at(matrix), p.at(scale), at.at(matrix), at.at(scale), zero);
    }
    return testing::PlainLoss(config, rounded, &reference, ids, {spec.batch, spec.length});
  };
  CHECK(trainer.Backward(ids) == Approx(loss_of(at)).epsilon(1e-5));
  for (Parameter* parameter : trainer.parameters()) {
    if (!parameter->name.ends_with(".scale")) continue;
    const size_t size = parameter->value.rows() * parameter->value.cols();
    for (size_t i = 0; i < size; ++i)  // without the paper's factor, 1 / sqrt(N Qp)
      parameter->gradient.data()[i] *= std::sqrt(8.0f * 3.0f);
  }
  CheckSlopes(trainer, at, loss_of);
}

}  // namespace
}  // namespace quantref
