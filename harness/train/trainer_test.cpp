#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "harness/model/families_testing.h"
#include "harness/quant/grid.h"
#include "harness/train/train_testing.h"

namespace quantref {
namespace {

using testing::TinyModel;

WeightScheme SmallGroups() {
  WeightScheme scheme;
  scheme.bits = 3;
  scheme.group = 16;
  return scheme;
}

std::vector<float> AllValues(Trainer& trainer) {
  std::vector<float> values;
  for (const Parameter* parameter : trainer.parameters()) {
    const float* const data = parameter->value.data();
    values.insert(values.end(), data, data + parameter->value.rows() * parameter->value.cols());
  }
  return values;
}

// Three steps over batches that are no multiple of a tile.
std::vector<float> AfterSteps(size_t threads, Trained trained, TrainingLoss loss) {
  TinyModel tiny;
  tiny.attention_bias = true;
  const Transformer model = testing::Tiny(tiny);
  const TrainSpec spec{.steps = 3, .batch = 5, .length = 130, .warmup = 1, .loss = loss};
  Team team(threads);
  const auto plan = testing::RoundAll(model.config(), SmallGroups());
  Trainer trainer(model.config(), model.weights(), model.weights(), plan, spec, &team, trained);
  for (size_t step = 0; step < spec.steps; ++step)
    trainer.Step(testing::RandomIds(spec.batch * spec.length, tiny.vocab, step));
  return AllValues(trainer);
}

TEST_CASE("training gives the same bits for any number of threads") {
  for (const Trained trained : {Trained::kBlocks, Trained::kAll}) {
    for (const TrainingLoss loss : {TrainingLoss::kKl, TrainingLoss::kCrossEntropy}) {
      const std::vector<float> one = AfterSteps(1, trained, loss);
      for (const size_t threads : {size_t{2}, size_t{3}}) {
        const std::vector<float> several = AfterSteps(threads, trained, loss);
        REQUIRE(several.size() == one.size());
        CHECK(std::memcmp(one.data(), several.data(), one.size() * sizeof(float)) == 0);
      }
    }
  }
}

TEST_CASE("training that is taken up from its state goes on with the same bits") {
  const Transformer model = testing::Tiny({});
  const ModelConfig& config = model.config();
  const TrainSpec spec{.steps = 6, .batch = 2, .length = 20, .warmup = 1};
  const auto plan = testing::RoundAll(config, SmallGroups());
  const auto ids = [&](size_t step) { return testing::RandomIds(40, config.vocab, step); };
  Trainer whole(config, model.weights(), model.weights(), plan, spec, nullptr);
  std::string state;
  for (size_t step = 0; step < spec.steps; ++step) {
    if (step == 4) whole.WriteState([&](std::string_view bytes) { state += bytes; });
    whole.Step(ids(step));
  }
  Trainer again(config, model.weights(), model.weights(), plan, spec, nullptr);
  REQUIRE(again.ReadState(state));
  CHECK(again.steps_done() == 4);
  for (size_t step = 4; step < spec.steps; ++step) again.Step(ids(step));
  const std::vector<float> a = AllValues(whole), b = AllValues(again);
  CHECK(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
  CHECK_FALSE(again.ReadState(state + "x"));
  for (const size_t size : {size_t{0}, size_t{7}, size_t{20}, state.size() - 1})
    CHECK_FALSE(again.ReadState(std::string_view(state).substr(0, size)));
}

TEST_CASE("the gradient passes rounding as if it were not there") {
  const Transformer model = testing::Tiny({});
  const ModelConfig& config = model.config();
  const WeightScheme scheme = SmallGroups();
  const TrainSpec spec{.steps = 2, .batch = 2, .length = 20, .warmup = 1};
  ModelWeights rounded = model.weights();
  for (BlockWeights& block : rounded.blocks) {
    for (Linear& linear : block.linears) {
      Matrix<float> values = linear.weight.Decode();
      RoundValues(values.view(), scheme, {}, values.view());
      linear.weight = Weight(std::move(values));
    }
  }
  const auto plan = testing::RoundAll(config, scheme), keep = testing::KeepAll(config);
  Trainer straight(config, model.weights(), model.weights(), plan, spec, nullptr);
  Trainer plain(config, model.weights(), rounded, keep, spec, nullptr);
  const std::vector<uint32_t> ids = testing::RandomIds(40, config.vocab, 1);
  const double loss = straight.Backward(ids);
  CHECK(loss > 0);
  CHECK(loss == plain.Backward(ids));
  for (size_t i = 0; i < straight.parameters().size(); ++i) {
    INFO(straight.parameters()[i]->name);
    CHECK(testing::SameBits(straight.parameters()[i]->gradient, plain.parameters()[i]->gradient));
  }
}

TEST_CASE("a model that is its own reference has no KL and no gradient of it") {
  const Transformer model = testing::Tiny({});
  const TrainSpec spec{.steps = 2, .batch = 1, .length = 30, .warmup = 1};
  const auto keep = testing::KeepAll(model.config());
  Trainer trainer(model.config(), model.weights(), model.weights(), keep, spec, nullptr);
  CHECK(std::fabs(trainer.Backward(testing::RandomIds(30, model.config().vocab, 1))) < 1e-6);
  for (const Parameter* parameter : trainer.parameters()) {
    const float* const g = parameter->gradient.data();
    const size_t size = parameter->gradient.rows() * parameter->gradient.cols();
    CHECK(std::all_of(g, g + size, [](float x) { return std::fabs(x) < 1e-5f; }));
  }
}

// Training has a forward of its own (README.md says why): what a family adds to the model's must be
// there, too, or refused by CheckTrainable.
TEST_CASE("training's forward is the model's, of every family that it takes", "[families]") {
  size_t trained = 0;
  for (const testing::GoldenModel& model : testing::GoldenModels()) {
    INFO(model.name);
    try {
      CheckTrainable(model.config);
    } catch (const Error&) {
      continue;
    }
    const TrainSpec spec{.steps = 2, .batch = 1, .length = model.ids.size(), .warmup = 1};
    const auto keep = testing::KeepAll(model.config);
    Trainer trainer(model.config, model.weights, model.weights, keep, spec, nullptr);
    CHECK(std::fabs(trainer.Backward(model.ids)) < 1e-6);  // KL to the model's own logits
    ++trained;
  }
  CHECK(trained >= 9);
}

TEST_CASE("training makes the loss of a rounded model smaller and gives its weights back") {
  const Transformer model = testing::Tiny({});
  const ModelConfig& config = model.config();
  const auto plan = testing::RoundAll(config, SmallGroups());
  const TrainSpec spec{.steps = 40, .batch = 2, .length = 32, .warmup = 4, .rate = 2e-3};
  Team team(2);
  Trainer trainer(config, model.weights(), model.weights(), plan, spec, &team);
  const std::vector<uint32_t> ids = testing::RandomIds(64, config.vocab, 1);
  const double before = trainer.Step(ids);
  for (size_t step = 1; step < spec.steps; ++step) trainer.Step(ids);
  CHECK(trainer.Backward(ids) < 0.7 * before);
  const ModelWeights weights = trainer.Weights();
  CHECK(weights.embedding.weight.SharesStorage(model.weights().embedding.weight));
  const Parameter& first = *trainer.parameters()[2];
  CHECK(first.name == "layers.0.self_attn.q_proj");
  CHECK(testing::SameBits(weights.blocks[0].linears[kQ].weight.Decode(), first.value));
}

TEST_CASE("what cannot be trained is refused by name") {
  Transformer model = testing::Tiny({});
  const TrainSpec spec{.steps = 2, .batch = 1, .length = 8, .warmup = 1};
  QuantizeSpec all;
  all.weights.group = 16;
  all.keep.clear();
  const auto plan = PlanModel(all, model.config());
  CHECK_ERROR(Trainer(model.config(), model.weights(), model.weights(), plan, spec, nullptr),
              "embed_tokens", "embedding or head is quantized", "keep embed_tokens");
  ModelConfig config = model.config();
  config.model_type = "gemma2";
  config.family = FindFamily("gemma2");
  CHECK_ERROR(CheckTrainable(config), "gemma2", "its norms", "llama, mistral and qwen2");
}

TEST_CASE("a loss that is not finite ends the training") {
  const Transformer model = testing::Tiny({});
  ModelWeights start = model.weights();
  start.blocks[0].norms[kMlpNorm][0] = testing::kNan;
  const TrainSpec spec{.steps = 2, .batch = 1, .length = 8, .warmup = 1};
  const auto keep = testing::KeepAll(model.config());
  Trainer trainer(model.config(), model.weights(), start, keep, spec, nullptr);
  CHECK_ERROR(trainer.Step(testing::RandomIds(8, model.config().vocab, 1)),
              "rate: the loss of training is not finite at step 1 of 2");
}

TEST_CASE("AdamW moves by the rate in its first step, decays matrices alone, and clips") {
  const std::vector<float> ones(4, 1.0f);
  Parameter matrix = MakeParameter("matrix", MatrixView<const float>(ones.data(), 2, 2), true);
  Parameter vector = MakeParameter("vector", std::span(ones));
  for (Parameter* parameter : {&matrix, &vector}) std::fill_n(parameter->gradient.data(), 4, 3.0f);
  Parameter* const both[] = {&matrix, &vector};
  AdamWSettings settings;
  settings.decay = 0.1;
  settings.clip = 1;
  CHECK(AdamWStep(settings, 0.01, 1, both, nullptr) == Approx(std::sqrt(72.0)));
  CHECK(matrix.value(0, 0) == Approx(1 - 0.001 - 0.01).epsilon(1e-6));
  CHECK(vector.value(0, 3) == Approx(1 - 0.01).epsilon(1e-6));
  CHECK(vector.mean(0, 0) == Approx(0.1 * 3 / std::sqrt(72.0)).epsilon(1e-5));
  settings.clip = 0;
  AdamWStep(settings, 0.01, 2, both, nullptr);
  CHECK(vector.mean(0, 0) == Approx(0.9 * 0.1 * 3 / std::sqrt(72.0) + 0.1 * 3).epsilon(1e-5));
}

TEST_CASE("the rate rises evenly and falls as half a cosine") {
  CHECK(RateShare(1, 100, 10) == Approx(0.1));
  CHECK(RateShare(10, 100, 10) == Approx(1));
  CHECK(RateShare(11, 100, 10) == Approx(1));
  CHECK(RateShare(56, 100, 10) == Approx(0.5));
  CHECK(RateShare(100, 100, 10) > 0);
  CHECK(RateShare(100, 100, 10) < 1e-3);
  CHECK(RateShare(1, 4, 0) == Approx(1));
}

}  // namespace
}  // namespace quantref
