#include "harness/train/lora.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "harness/model/adapter.h"
#include "harness/quant/format.h"
#include "harness/quant/grid.h"
#include "harness/train/train_testing.h"

namespace quantref {
namespace {

using testing::TinyModel;

WeightScheme FourBitFloats() {
  WeightScheme scheme = SchemeOf(*FindFormat("nf4"));
  scheme.group = 16;
  scheme.double_quant = true;
  return scheme;
}

ModelWeights QuantizedBlocks(const ModelWeights& weights) {
  ModelWeights quantized = weights;
  for (BlockWeights& block : quantized.blocks) {
    for (Linear& linear : block.linears)
      linear.weight = Weight(std::make_shared<const PackedMatrix>(
                                 RoundToNearest(linear.weight.Decode().view(), FourBitFloats())))
                          .WithKernels();
  }
  return quantized;
}

TrainSpec AdapterSpec(LoraMerge merge = LoraMerge::kNone) {
  TrainSpec spec{.steps = 6, .batch = 3, .length = 90, .warmup = 1, .rate = 1e-2};
  spec.lora = LoraSpec{.rank = 4, .alpha = 8, .merge = merge};
  spec.seed = 3;
  return spec;
}

std::vector<float> NumbersOf(Trainer& trainer) {
  std::vector<float> numbers;
  for (const Parameter* parameter : trainer.parameters()) {
    const float* const data = parameter->value.data();
    numbers.insert(numbers.end(), data, data + parameter->value.rows() * parameter->value.cols());
  }
  return numbers;
}

std::vector<uint32_t> BatchNumber(const TrainSpec& spec, size_t step) {
  return testing::RandomIds(spec.batch * spec.length, TinyModel().vocab, step);
}

// Trained for some steps, of a quantized model.
struct Adapted {
  explicit Adapted(const TrainSpec& spec, Team* team = nullptr)
      : model(testing::Tiny(TinyModel())),
        quantized(QuantizedBlocks(model.weights())),
        plan(testing::RoundAll(model.config(), FourBitFloats())),
        trainer(model.config(), model.weights(), quantized, plan, spec, team) {}

  Transformer model;
  ModelWeights quantized;
  std::vector<PlannedLinear> plan;
  Trainer trainer;
};

TEST_CASE("adapters begin as PEFT's do: A uniform in +-1 / sqrt(inputs), B zero") {
  Rng rng(1), again(1), other(2);
  const LoraPair pair = MakeLoraPair("m", 40, 900, 5, rng);
  CHECK(pair.a.name == "m.lora_A");
  CHECK(pair.b.name == "m.lora_B");
  const float* const a = pair.a.value.data();
  const auto [least, most] = std::minmax_element(a, a + 5 * 900);
  CHECK(*most <= 1.0f / 30);
  CHECK(*least >= -1.0f / 30);
  CHECK(*most - *least > 1.99f / 30);
  double square = 0;
  for (size_t i = 0; i < 5 * 900; ++i)
    square += static_cast<double>(a[i]) * static_cast<double>(a[i]);
  CHECK(square / (5 * 900) == Approx(1.0 / 900 / 3).epsilon(0.05));
  CHECK(std::all_of(pair.b.value.data(), pair.b.value.data() + 40 * 5,
                    [](float x) { return x == 0; }));
  CHECK(testing::SameBits(pair.a.value, MakeLoraPair("m", 40, 900, 5, again).a.value));
  CHECK_FALSE(testing::SameBits(pair.a.value, MakeLoraPair("m", 40, 900, 5, other).a.value));
}

TEST_CASE("training adapters changes nothing else, and begins with the quantized model") {
  const TrainSpec spec = AdapterSpec();
  Adapted adapted(spec);
  CHECK(adapted.trainer.parameters().size() == 2 * 14);
  // KL to the reference of the quantized model as it is.
  TrainSpec plain = spec;
  plain.lora.reset();
  const auto keep = testing::KeepAll(adapted.model.config());
  Trainer untouched(adapted.model.config(), adapted.model.weights(), adapted.quantized, keep, plain,
                    nullptr);
  const std::vector<uint32_t> ids = BatchNumber(spec, 0);
  CHECK(adapted.trainer.Backward(ids) == Approx(untouched.Backward(ids)).epsilon(1e-6));
  const double before = adapted.trainer.Step(ids);
  for (size_t step = 1; step < spec.steps; ++step) adapted.trainer.Step(ids);
  CHECK(adapted.trainer.Backward(ids) < 0.95 * before);
  const ModelWeights after = adapted.trainer.Weights();
  for (size_t layer = 0; layer < after.blocks.size(); ++layer) {
    CHECK(after.blocks[layer].norms == adapted.quantized.blocks[layer].norms);
    for (size_t i = 0; i < kLinears; ++i) {
      const Linear &linear = after.blocks[layer].linears[i],
                   &start = adapted.quantized.blocks[layer].linears[i];
      CHECK(linear.weight.SharesStorage(start.weight));
      REQUIRE(linear.adapter != nullptr);
      CHECK(linear.adapter->rank() == 4);
    }
  }
}

TEST_CASE("training adapters gives the same bits for any number of threads, and from a state") {
  const TrainSpec spec = AdapterSpec();
  Team one(1), three(3);
  Adapted a(spec, &one), b(spec, &three);
  std::string state;
  for (size_t step = 0; step < spec.steps; ++step) {
    if (step == 3) a.trainer.WriteState([&](std::string_view bytes) { state += bytes; });
    a.trainer.Step(BatchNumber(spec, step));
    b.trainer.Step(BatchNumber(spec, step));
  }
  const std::vector<float> expected = NumbersOf(a.trainer), found = NumbersOf(b.trainer);
  CHECK(std::memcmp(expected.data(), found.data(), expected.size() * sizeof(float)) == 0);
  TrainSpec other_seed = spec;
  other_seed.seed = 4;  // what a state has replaces what a trainer begins with
  Adapted again(other_seed);
  REQUIRE(again.trainer.ReadState(state));
  for (size_t step = 3; step < spec.steps; ++step) again.trainer.Step(BatchNumber(spec, step));
  const std::vector<float> resumed = NumbersOf(again.trainer);
  CHECK(std::memcmp(expected.data(), resumed.data(), expected.size() * sizeof(float)) == 0);
}

TEST_CASE("adapters get to the matrices that targets match alone") {
  TrainSpec spec = AdapterSpec();
  spec.lora->targets = {"*.q_proj", "layers.1.mlp.*"};
  Adapted adapted(spec);
  CHECK(adapted.trainer.parameters().size() == 2 * (2 + 3));
  adapted.trainer.Step(BatchNumber(spec, 0));
  const ModelWeights after = adapted.trainer.Weights();
  CHECK(after.blocks[0].linears[kQ].adapter != nullptr);
  CHECK(after.blocks[0].linears[kDown].adapter == nullptr);
  CHECK(after.blocks[1].linears[kDown].adapter != nullptr);
  const size_t q = 4 * (32 + 32), mlp = 3 * 4 * (32 + 48);
  CHECK(LoraParameters(*spec.lora, adapted.plan) == 2 * q + mlp);
  CHECK(LoraBytes(*spec.lora, adapted.plan) == 2.0 * (2 * q + mlp));
}

TEST_CASE("adapters kept apart compute what the same ones compute when they are in the weights") {
  const TrainSpec spec = AdapterSpec();
  Adapted adapted(spec);
  for (size_t step = 0; step < spec.steps; ++step) adapted.trainer.Step(BatchNumber(spec, step));
  const ModelWeights apart = adapted.trainer.Weights();
  ModelWeights merged = apart;
  for (BlockWeights& block : merged.blocks) {
    for (Linear& linear : block.linears) {
      Matrix<float> values = linear.weight.Decode();
      const Adapter& adapter = *linear.adapter;
      AddLowRank(adapter.up.weight.Decode().view(), adapter.down.weight.Decode().view(),
                 adapter.scale, values.view());
      linear = {.name = linear.name, .weight = Weight(std::move(values)), .bias = linear.bias};
    }
  }
  const ModelConfig& config = adapted.model.config();
  const Transformer a(config, apart, 90), b(config, merged, 90),
      none(config, adapted.quantized, 90);
  Workspace work;
  for (const size_t tokens : {size_t{1}, size_t{7}, size_t{90}}) {
    const std::vector<uint32_t> ids = testing::RandomIds(tokens, config.vocab, tokens);
    const Matrix<float> of_apart = a.Hidden(ids, work), of_merged = b.Hidden(ids, work);
    CHECK(testing::LargestDifference(of_apart.view(), of_merged.view()) < 2e-4);
    CHECK(testing::LargestDifference(of_apart.view(), none.Hidden(ids, work).view()) > 1e-2);
  }
}

TEST_CASE("merged adapters leave FP16 weights, or FP32 ones to be rounded") {
  Adapted fp16(AdapterSpec(LoraMerge::kFp16)), round(AdapterSpec(LoraMerge::kRound));
  for (Adapted* adapted : {&fp16, &round}) adapted->trainer.Step(BatchNumber(AdapterSpec(), 0));
  const Linear halves = fp16.trainer.Weights().blocks[0].linears[kO];
  const Linear floats = round.trainer.Weights().blocks[0].linears[kO];
  CHECK(halves.adapter == nullptr);
  CHECK(halves.weight.stored_in_16_bits());
  REQUIRE(floats.weight.dense().has_value());
  CHECK(floats.weight.dense()->type == DenseRows::Type::kFp32);
  const Matrix<float> expected = floats.weight.Decode(), found = halves.weight.Decode();
  CHECK(testing::LargestDifference(expected.view(), found.view()) < 2e-3);
  const Matrix<float> before = round.quantized.blocks[0].linears[kO].weight.Decode();
  CHECK(testing::LargestDifference(expected.view(), before.view()) > 1e-4);
}

TEST_CASE("targets that no quantized matrix has, and ranks that save nothing, are refused") {
  const Transformer model = testing::Tiny(TinyModel());
  const auto plan = testing::RoundAll(model.config(), FourBitFloats());
  LoraSpec spec;
  spec.targets = {"*.q_proj", "*.query"};
  CHECK_ERROR(CheckTargets(spec, plan), "lora.targets: ", "'*.query' matches no quantized",
              "layers.0.self_attn.q_proj");
  spec.targets = {"lm_head"};  // kept
  CHECK_ERROR(CheckTargets(spec, plan), "'lm_head' matches no quantized");
  spec.targets = {"*.k_proj"};
  CHECK_ERROR(CheckTargets(spec, plan), "lora.rank: ", "a rank below 16", "k_proj");
  spec.rank = 15;
  CheckTargets(spec, plan);
}

}  // namespace
}  // namespace quantref
