#include "harness/model/synthetic.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "harness/base/sha256.h"
#include "harness/model/plan_model.h"
#include "harness/model/transformer.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

const ModelConfig& TinyShape() { return FindSyntheticShape("tiny"); }

QuantizeSpec Groups(int bits, size_t group) {
  QuantizeSpec spec;
  spec.weights.bits = bits;
  spec.weights.group = group;
  return spec;
}

std::string HashOf(const Weight& weight) {
  const Matrix<float> values = weight.Decode();
  return Sha256Hex(std::span<const float>(values.data(), values.rows() * values.cols()));
}

TEST_CASE("synthetic: the shapes are those of the models") {
  std::set<std::string_view> names;
  for (const SyntheticShape& shape : SyntheticShapes()) {
    INFO(shape.name);
    names.insert(shape.name);
    CHECK(shape.config.heads % shape.config.kv_heads == 0);
    CHECK(shape.config.head_dim % 2 == 0);
  }
  CHECK(names.size() == SyntheticShapes().size());
  // As the models' cards have them, in thousands.
  const auto thousands = [](const char* name) {
    return FindSyntheticShape(name).Parameters() / 1000;
  };
  CHECK(thousands("tinyllama-1.1b") == 1100048);
  CHECK(thousands("llama-2-7b") == 6738415);
  CHECK(thousands("llama-2-13b") == 13015864);
  CHECK(thousands("llama-3-8b") == 8030261);
  CHECK(thousands("llama-3.2-1b") == 1235814);
  CHECK(thousands("mistral-7b") == 7241732);
  CHECK(thousands("smollm2-135m") == 134515);
  CHECK(thousands("qwen2.5-0.5b") == 494032);
  CHECK(thousands("qwen3-0.6b") == 596049);
  CHECK(thousands("gemma-3-270m") == 268098);
  CHECK(thousands("phi-3-mini") == 3821079);
  CHECK(thousands("opt-125m") == 125239);
  const ModelConfig bundled = ReadConfig(testing::ReferenceModel("wikilm-28m") / "config.json");
  CHECK(FindSyntheticShape("wikilm-28m").Parameters() == bundled.Parameters());
}

TEST_CASE("synthetic: a plan is that of a checkpoint of the same shape") {
  const std::vector<PlannedLinear> plan = PlanModel(Groups(4, 32), TinyShape());
  REQUIRE(plan.size() == 16);
  CHECK(plan.front().shape.name == "embed_tokens");
  CHECK(plan[3].shape.name == "layers.0.self_attn.v_proj");
  CHECK(plan[7].shape.cols == 96);
  CHECK(plan.back().shape.name == "lm_head");
  CHECK_FALSE(plan.front().scheme);
  CHECK_FALSE(plan.back().scheme);
  CHECK(plan[1].scheme->bits == 4);
  CHECK(PlanModel(Groups(4, 64), FindSyntheticShape("llama-3.2-1b")).size() == 1 + 7 * 16);
}

TEST_CASE("synthetic: weights are finite, of a trained model's size, and of their seed alone") {
  const SyntheticWeights frame = MakeSyntheticFrame(TinyShape(), 1, 2);
  const SyntheticWeights reference = MakeSyntheticReference(TinyShape(), frame, 1, 3);
  CHECK(reference.weights.embedding.weight.SharesStorage(frame.weights.embedding.weight));
  CHECK_FALSE(reference.weights.head.weight.SharesStorage(reference.weights.embedding.weight));
  std::set<std::string> hashes;
  for (const BlockWeights& block : reference.weights.blocks) {
    for (const Linear& linear : block.linears) {
      INFO(linear.name);
      CHECK(linear.weight.stored_in_16_bits());
      const Matrix<float> values = linear.weight.Decode();
      const float typical = 1 / std::sqrt(static_cast<float>(values.cols()));
      double sum = 0;
      for (size_t i = 0; i < values.rows() * values.cols(); ++i) {
        sum += values.data()[i];
        CHECK(std::abs(values.data()[i]) < 4 * typical);
      }
      CHECK(std::abs(sum) < 4 * static_cast<double>(values.rows() + values.cols()));
      hashes.insert(HashOf(linear.weight));
    }
  }
  CHECK(hashes.size() == 14);
  const SyntheticWeights again =
      MakeSyntheticReference(TinyShape(), MakeSyntheticFrame(TinyShape(), 1, 1), 1, 1);
  const SyntheticWeights other =
      MakeSyntheticReference(TinyShape(), MakeSyntheticFrame(TinyShape(), 2, 1), 2, 1);
  const auto hash = [](const SyntheticWeights& made) {
    return HashOf(made.weights.blocks[1].linears[kUp].weight);
  };
  CHECK(hash(again) == hash(reference));
  CHECK(hash(other) != hash(reference));
  CHECK(HashOf(again.weights.head.weight) == HashOf(reference.weights.head.weight));
}

TEST_CASE("synthetic: a quantized model has codes in the kernels' layout and computes") {
  const SyntheticWeights frame = MakeSyntheticFrame(TinyShape(), 0, 1);
  QuantizeSpec spec = Groups(4, 32);
  spec.keep = {"embed_tokens", "lm_head", "*.k_proj"};
  const auto plan = PlanModel(spec, TinyShape());
  const SyntheticWeights made = MakeSynthetic(TinyShape(), frame, plan, ActivationScheme{}, 0, 2);
  const BlockWeights& block = made.weights.blocks[1];
  REQUIRE(block.linears[kDown].weight.tiled() != nullptr);
  CHECK(block.linears[kDown].weight.packed() == nullptr);
  CHECK(block.linears[kDown].weight.tiled()->scheme().group == 32);
  CHECK(block.linears[kDown].activations->bits == 8);
  CHECK_FALSE(block.linears[kK].weight.quantized());
  CHECK_FALSE(block.linears[kK].activations);
  CHECK_FALSE(made.weights.head.weight.quantized());
  const Transformer model(TinyShape(), made.weights, 8);
  Workspace work;
  const std::vector<uint32_t> ids = {1, 5, 100, 7};
  const Matrix<float> hidden = model.Hidden(ids, work);
  Matrix<float> logits(4, TinyShape().vocab);
  model.Logits(hidden.view(), logits.view(), work);
  for (size_t i = 0; i < 4 * TinyShape().vocab; ++i) CHECK(std::isfinite(logits.data()[i]));
}

TEST_CASE("synthetic: a quantized tied head is the embedding") {
  QuantizeSpec spec = Groups(4, 64);  // keeps both names but for what an override says
  SchemeOverride head;
  head.match = "lm_head";
  head.bits = 8;
  spec.overrides = {head};
  const ModelConfig& tied = FindSyntheticShape("wikilm-28m");
  const SyntheticWeights made = MakeSynthetic(tied, MakeSyntheticFrame(tied, 0, 1),
                                              PlanModel(spec, tied), ActivationScheme{}, 0, 2);
  CHECK(made.weights.head.weight.SharesStorage(made.weights.embedding.weight));
  REQUIRE(made.weights.head.weight.quantized());
  CHECK(made.weights.head.weight.tiled()->scheme().bits == 8);
  CHECK(made.weights.head.activations);
  CHECK_FALSE(made.weights.embedding.activations);
}

TEST_CASE("synthetic: bytes are those that the weights take") {
  CHECK(SyntheticBytes(TinyShape(), {}) == 2 * TinyShape().Parameters());
  const SyntheticWeights frame = MakeSyntheticFrame(TinyShape(), 0, 1);
  for (const int bits : {2, 3, 4, 6}) {
    for (const size_t group : {32, 40, 512}) {
      const std::vector<PlannedLinear> plan = PlanModel(Groups(bits, group), TinyShape());
      const SyntheticWeights made = MakeSynthetic(TinyShape(), frame, plan, std::nullopt, 0, 2);
      size_t bytes = 0;
      for (const Linear* linear : AllLinears(made.weights)) {
        const TiledMatrix* tiled = linear->weight.tiled();
        bytes += tiled != nullptr ? tiled->bytes() : linear->weight.StorageBits() / 8;
      }
      CHECK(SyntheticBytes(TinyShape(), plan) == bytes);
    }
  }
  const ModelConfig& large = FindSyntheticShape("llama-2-7b");
  CHECK(SyntheticBytes(large, PlanModel(Groups(4, 128), large)) < 4'300'000'000);
}

}  // namespace
}  // namespace quantref
