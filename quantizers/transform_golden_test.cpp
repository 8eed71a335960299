#include <catch2/catch.hpp>
#include <fstream>
#include <nlohmann/json.hpp>

#include "harness/base/half.h"
#include "harness/method/calibrated_block_testing.h"
#include "harness/method/scale_search.h"
#include "harness/testing/testing.h"
#include "quantizers/awq.h"
#include "quantizers/smoothquant.h"

// AWQ and SmoothQuant against PyTorch in float64: testdata/awq_smoothquant.json, from
// scripts/goldens/awq_smoothquant_torch.py.

namespace quantref {
namespace {

using nlohmann::json;
using testing::TestBlock;

const json& TransformGolden() {
  static const json golden = [] {
    std::ifstream file(testing::SourceDir() / "quantizers" / "testdata" / "awq_smoothquant.json");
    REQUIRE(file.good());
    return json::parse(file);
  }();
  return golden;
}

std::vector<float> Values(const json& patterns) {
  std::vector<float> values;
  for (const json& pattern : patterns) values.push_back(HalfToFloat(pattern));
  return values;
}

// The linears in the order of LinearIndex, by the names that the file uses.
constexpr std::array<std::string_view, kLinears> kNames = {"q",    "k",  "v",   "o",
                                                           "gate", "up", "down"};

std::unique_ptr<TestBlock> BlockOf(const json& variant) {
  const json& golden = TransformGolden();
  auto test =
      std::make_unique<TestBlock>(testing::BlockSpec{.hidden = golden.at("hidden"),
                                                     .intermediate = golden.at("intermediate"),
                                                     .heads = variant.at("heads"),
                                                     .kv_heads = variant.at("kv_heads"),
                                                     .head_dim = golden.at("head_dim"),
                                                     .samples = golden.at("samples").size(),
                                                     .tokens = golden.at("tokens")});
  REQUIRE(test->config.rms_eps == golden.at("rms_eps").get<double>());
  REQUIRE(test->config.rope_theta == golden.at("rope_theta").get<double>());
  const json& weights = golden.at("weights");
  test->block.weights.norms[kAttentionNorm] = Values(weights.at("attention_norm"));
  test->block.weights.norms[kMlpNorm] = Values(weights.at("mlp_norm"));
  for (size_t i = 0; i < kLinears; ++i) {
    const std::vector<float> values = Values(weights.at(std::string(kNames[i])));
    const size_t cols = test->block.weights.linears[i].weight.cols();
    test->Edit(i, [&](size_t r, size_t c, float& weight) { weight = values.at(r * cols + c); });
  }
  for (size_t i = 0; i < test->samples.size(); ++i) {
    const std::vector<float> values = Values(golden.at("samples")[i]);
    REQUIRE(values.size() == test->samples[i].rows() * test->samples[i].cols());
    std::copy(values.begin(), values.end(), test->samples[i].data());
  }
  test->Calibrate();
  test->Quantize(
      {.bits = variant.at("bits"),
       .granularity = variant.at("granularity") == "row" ? Granularity::kRow : Granularity::kGroup,
       .group = variant.at("group"),
       .symmetric = variant.at("symmetric")});
  const int activation_bits = variant.at("activation_bits");
  if (activation_bits > 0) test->block.activations = ActivationScheme{.bits = activation_bits};
  return test;
}

TEST_CASE("awq: the loss of every ratio as in PyTorch", "[awq][golden]") {
  for (const json& variant : TransformGolden().at("variants")) {
    const auto test = BlockOf(variant);
    CHECK(test->groups().size() == variant.at("losses").size());
    for (const ScalingGroup& group : test->groups()) {
      const std::vector<double> losses = variant.at("losses").at(test->ProducerName(group));
      const ScaleSearch search(test->block, group);
      for (size_t i = 0; i < losses.size(); ++i) {
        INFO(variant.at("name") << ", " << test->ProducerName(group) << ", candidate " << i);
        const double ratio = static_cast<double>(i) / static_cast<double>(losses.size());
        CHECK(search.Error(AwqScales(test->block.input(group.tap).channel_mean, ratio)) ==
              Approx(losses[i]).epsilon(1e-3));
      }
    }
  }
}

TEST_CASE("awq: ratios and limits as in PyTorch", "[awq][golden]") {
  const Awq awq;
  for (const json& variant : TransformGolden().at("variants")) {
    const auto test = BlockOf(variant);
    awq.Apply(test->block, Knobs(awq.knobs()), 2);
    for (const ScalingGroup& group : test->groups()) {
      INFO(variant.at("name") << ", " << test->ProducerName(group));
      const std::string& note = test->block.notes[group.consumers.front()];
      REQUIRE(note.starts_with("awq ratio "));
      const int ratio = variant.at("ratios").at(test->ProducerName(group));
      CHECK(std::stod(note.substr(10)) == Approx(ratio / 20.0));
    }
    size_t equal = 0, all = 0;
    for (size_t i = 0; i < kLinears; ++i) {
      const Matrix<float>& limits = test->block.limits[i];
      const std::string name(kNames[i]);
      CHECK(variant.at("limits").contains(name) == (limits.rows() > 0));
      if (limits.rows() == 0) continue;
      const std::vector<double> expected = variant.at("limits").at(name);
      REQUIRE(expected.size() == limits.rows() * limits.cols());
      for (size_t k = 0; k < expected.size(); ++k, ++all) {
        equal += limits.data()[k] == Approx(expected[k]).epsilon(1e-5);
      }
    }
    INFO(variant.at("name") << ": " << equal << " of " << all << " limits are equal");
    CHECK(static_cast<double>(equal) >= 0.99 * static_cast<double>(all));
  }
}

TEST_CASE("smoothquant: scales as in PyTorch", "[smoothquant][golden]") {
  const SmoothQuant smoothquant;
  for (const json& variant : TransformGolden().at("variants")) {
    for (const char* norm : {"input_layernorm", "post_attention_layernorm"}) {
      for (const json& entry : variant.at("smooth").at(norm)) {
        INFO(variant.at("name") << ", " << norm << ", alpha " << entry.at("alpha"));
        const auto test = BlockOf(variant);
        const auto gain = [&] {
          const BlockWeights& weights = test->block.weights;
          return norm == std::string_view("input_layernorm") ? weights.norms[kAttentionNorm]
                                                             : weights.norms[kMlpNorm];
        };
        const std::vector<float> before = gain();
        Knobs knobs(smoothquant.knobs());
        knobs.Set("alpha", entry.at("alpha"));
        smoothquant.Apply(test->block, knobs, 1);
        const std::vector<float> after = gain();
        const std::vector<double> scales = entry.at("scales");
        REQUIRE(scales.size() == after.size());
        for (size_t j = 0; j < scales.size(); ++j) {
          CHECK(static_cast<double>(before[j]) / static_cast<double>(after[j]) ==
                Approx(scales[j]).epsilon(1e-5));
        }
      }
    }
  }
}

}  // namespace
}  // namespace quantref
