#include <algorithm>
#include <catch2/catch.hpp>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "harness/quant/grid.h"
#include "harness/train/train_testing.h"

// Steps of training against PyTorch's autograd and AdamW: testdata/training.json, from
// scripts/goldens/training_torch.py.

namespace quantref {
namespace {

using nlohmann::json;
using testing::TinyModel;

const json& TrainingGolden() {
  static const json golden = [] {
    std::ifstream file(testing::SourceDir() / "harness/train/testdata/training.json");
    REQUIRE(file.good());
    return json::parse(file);
  }();
  return golden;
}

// The script's generator.
class ScriptNumbers {
 public:
  explicit ScriptNumbers(uint64_t seed) : state_(static_cast<uint32_t>(seed)) {}
  uint32_t Next() { return state_ = state_ * 1664525u + 1013904223u; }
  float Number(double scale, double shift) {
    return static_cast<float>((static_cast<double>(Next()) / 4294967296.0 - 0.5) * scale + shift);
  }

 private:
  uint32_t state_;
};

Transformer ScriptModel(const json& shape) {
  TinyModel tiny;
  tiny.hidden = shape["hidden"];
  tiny.intermediate = shape["intermediate"];
  tiny.layers = shape["layers"];
  tiny.heads = shape["heads"];
  tiny.kv_heads = shape["kv_heads"];
  tiny.head_dim = shape["head_dim"];
  tiny.vocab = shape["vocab"];
  tiny.attention_bias = tiny.mlp_bias = true;
  return testing::Tiny(tiny);
}

// The model's numbers, each tensor's by its place among the names.
void Fill(const ModelConfig& config, uint64_t seed, ModelWeights& weights) {
  std::map<std::string, std::function<void(ScriptNumbers&)>> tensors;
  const auto matrix = [&](const std::string& name, Linear& linear) {
    tensors[name] = [&linear](ScriptNumbers& numbers) {
      Matrix<float> values(linear.weight.rows(), linear.weight.cols());
      const size_t size = values.rows() * values.cols();
      for (size_t i = 0; i < size; ++i) values.data()[i] = numbers.Number(1, 0);
      linear.weight = Weight(std::move(values));
    };
  };
  const auto vector = [&](const std::string& name, std::vector<float>& values, double scale,
                          double shift) {
    tensors[name] = [&values, scale, shift](ScriptNumbers& numbers) {
      for (float& value : values) value = numbers.Number(scale, shift);
    };
  };
  matrix("embed_tokens", weights.embedding);
  matrix("lm_head", weights.head);
  vector("norm", weights.final_norm, 0.5, 1);
  for (size_t layer = 0; layer < weights.blocks.size(); ++layer) {
    BlockWeights& block = weights.blocks[layer];
    const BlockLayout layout = LayoutOf(config, layer);
    for (const NormRow& norm : layout.norms)
      vector(NameInModel(layer, norm.name), block.norms[norm.index], 0.5, 1);
    for (const LinearRow& row : layout.linears) {
      const std::string name = NameInModel(layer, row.name);
      matrix(name, block.linears[row.index]);
      vector(name + ".bias", block.linears[row.index].bias, 1, 0);
    }
  }
  uint64_t place = 0;
  for (const auto& [name, fill] : tensors) {
    ScriptNumbers numbers(seed + 1000 * place++);
    fill(numbers);
  }
}

std::vector<uint32_t> ScriptBatch(const json& shape, size_t step) {
  ScriptNumbers numbers(77 + step);
  std::vector<uint32_t> ids(shape["windows"].get<size_t>() * shape["length"].get<size_t>());
  for (uint32_t& id : ids) id = (numbers.Next() >> 8) % shape["vocab"].get<uint32_t>();
  return ids;
}

TrainSpec ScriptSpec(const json& golden, const json& run) {
  TrainSpec spec{.steps = golden["steps"],
                 .batch = golden["shape"]["windows"],
                 .length = golden["shape"]["length"],
                 .warmup = golden["warmup"],
                 .rate = golden["rate"]};
  spec.adamw.beta2 = golden["beta2"];
  spec.adamw.decay = golden["decay"];
  spec.adamw.clip = golden["clip"];
  spec.loss = run["loss"] == "kl" ? TrainingLoss::kKl : TrainingLoss::kCrossEntropy;
  if (run["trained"] == "scales") spec.scales = TrainedScales::kLearned;
  if (run["trained"] == "adapters")
    spec.lora = LoraSpec{.rank = run["rank"], .alpha = run["alpha"]};
  return spec;
}

void CheckFirstStep(const json& first, Trainer& trainer) {
  REQUIRE(first.size() == trainer.parameters().size());
  for (const Parameter* parameter : trainer.parameters()) {
    INFO(parameter->name);
    const std::vector<double> expected = first.at(parameter->name);
    for (size_t i = 0; i < expected.size(); ++i)
      CHECK(static_cast<double>(parameter->value.data()[i]) == Approx(expected[i]).margin(1e-5));
  }
}

void RoundBlocks(const WeightScheme& scheme, ModelWeights& weights) {
  for (BlockWeights& block : weights.blocks) {
    for (Linear& linear : block.linears) {
      Matrix<float> values = linear.weight.Decode();
      RoundValues(values.view(), scheme, {}, values.view());
      linear.weight = Weight(std::move(values));
    }
  }
}

// As the script's `adapt` leaves them.
void FillAdapters(Trainer& trainer) {
  std::map<std::string, Parameter*> adapters;
  for (Parameter* parameter : trainer.parameters()) adapters[parameter->name] = parameter;
  uint64_t place = 0;
  for (const auto& [name, adapter] : adapters) {
    ScriptNumbers numbers(7 + 1000 * place++);
    const size_t size = adapter->value.rows() * adapter->value.cols();
    for (size_t i = 0; i < size; ++i) adapter->value.data()[i] = numbers.Number(0.5, 0);
  }
}

void CheckRun(const json& golden, const json& run) {
  INFO(run["name"]);
  const json& shape = golden["shape"];
  const Transformer model = ScriptModel(shape);
  const ModelConfig& config = model.config();
  ModelWeights reference = model.weights(), start = model.weights();
  const size_t bits = run["bits"];
  Fill(config, 0, reference);
  Fill(config, bits == 0 && run["loss"] == "kl" ? 1 : 0, start);
  WeightScheme scheme;
  scheme.bits = static_cast<int>(bits);
  scheme.group = run["group"];
  const auto plan = bits > 0 ? testing::RoundAll(config, scheme) : testing::KeepAll(config);
  const bool all = run["trained"] == "all";
  // The reference's embedding and head are those of a start that leaves them alone.
  if (!all) {
    start.embedding = reference.embedding;
    start.head = reference.head;
    start.final_norm = reference.final_norm;
  }
  const bool adapters = run["trained"] == "adapters";
  if (adapters) RoundBlocks(scheme, start);
  Team team(2);
  Trainer trainer(config, reference, start, plan, ScriptSpec(golden, run), &team,
                  all ? Trained::kAll : Trained::kBlocks);
  if (adapters) FillAdapters(trainer);
  // Once a weight is rounded to another code than there, losses part.
  const double tolerance = bits == 0 || adapters ? 1e-4 : 5e-3;
  const std::vector<double> losses = run["losses"];
  for (size_t step = 1; step <= losses.size(); ++step) {
    INFO("step " << step);
    const double loss = trainer.Step(ScriptBatch(shape, step));
    CHECK(loss == Approx(losses[step - 1]).epsilon(step == 1 ? 1e-5 : tolerance));
    if (step == 1) CheckFirstStep(run["first"], trainer);
  }
}

TEST_CASE("training goes PyTorch's way: the first step's weights, and twenty steps' losses") {
  for (const json& run : TrainingGolden()["runs"]) CheckRun(TrainingGolden(), run);
}

}  // namespace
}  // namespace quantref
