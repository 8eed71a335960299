#include <catch2/catch.hpp>
#include <cmath>
#include <sstream>
#include <string>
#include <vector>

#include "harness/base/rng.h"
#include "harness/method/quantize_model.h"
#include "harness/model/families_testing.h"
#include "harness/model/model_testing.h"
#include "harness/model/plan_model.h"
#include "quantizers/registry.h"
#include "quantizers/statistics_testing.h"

// What methods do to models of all families: scales fold wherever the layout says so, and every
// method rounds every block.

namespace quantref {
namespace {

using testing::GoldenModel;
using testing::GoldenModels;
using testing::RelativeChange;

Matrix<float> LogitsOf(const GoldenModel& golden, const ModelWeights& weights) {
  return testing::LogitsOf(golden.config, weights, golden.ids);
}

TEST_CASE("families: scales fold where the layout says so", "[families]") {
  for (const GoldenModel& golden : GoldenModels()) {
    const Matrix<float> expected = LogitsOf(golden, golden.weights);
    for (const ScalingGroup& group : LayoutOf(golden.config, 0).ScalingGroups()) {
      INFO(golden.name << ", tap " << static_cast<int>(group.tap));
      ModelWeights scaled = golden.weights;
      Rng rng(3);
      for (size_t layer = 0; layer < scaled.blocks.size(); ++layer) {
        std::vector<float> scales;
        for (size_t j = 0; j < LayoutOf(golden.config, layer).Channels(group.tap); ++j)
          scales.push_back(static_cast<float>(std::exp(rng.Normal())));
        ScaleChannels(scaled.blocks[layer], group, scales);
      }
      CHECK(RelativeChange(expected, LogitsOf(golden, scaled)) < 2e-5);
    }
  }
}

// "smoothquant+gptq"
Method MethodOf(const std::string& names) {
  Method method;
  std::istringstream parts(names);
  for (std::string name; std::getline(parts, name, '+');) {
    if (const Transform* transform = FindTransform(name)) {
      method.transforms.push_back(transform);
    } else {
      method.rounder = FindRounder(name);
    }
  }
  return method;
}

QuantizedModel QuantizeGolden(const GoldenModel& golden, const Method& method, size_t threads) {
  QuantizeSpec spec;
  spec.weights = {.bits = 8, .group = 8};
  CalibrationData data;
  Rng rng(4);
  data.samples = {golden.ids, golden.ids, golden.ids};
  for (size_t s = 1; s < data.samples.size(); ++s)
    data.samples[s] = testing::RandomIds(golden.ids.size(), golden.config.vocab, rng);
  return QuantizeModel(golden.config, golden.weights, PlanModel(spec, golden.config), method, &data,
                       {.threads = threads});
}

TEST_CASE("families: every method takes every family, and eight bits change little", "[families]") {
  for (const GoldenModel& golden : GoldenModels()) {
    const Matrix<float> expected = LogitsOf(golden, golden.weights);
    size_t linears = 0;
    for (size_t layer = 0; layer < golden.config.layers.size(); ++layer)
      linears += LayoutOf(golden.config, layer).linears.size();
    for (const char* names : {"rtn", "gptq", "awq+rtn", "smoothquant+rtn", "awq+gptq"}) {
      INFO(golden.name << ", " << names);
      Method method = MethodOf(names);
      const QuantizedModel found = QuantizeGolden(golden, method, 2);
      CHECK(found.layers.size() >= linears);
      CHECK(RelativeChange(expected, LogitsOf(golden, found.weights)) < 0.1);
      method.activations = ActivationScheme{};
      const QuantizedModel rounded = QuantizeGolden(golden, method, 1);
      CHECK(RelativeChange(expected, LogitsOf(golden, rounded.weights)) < 0.3);
    }
    const QuantizedModel alone = QuantizeGolden(golden, MethodOf("awq+gptq"), 1);
    const QuantizedModel together = QuantizeGolden(golden, MethodOf("awq+gptq"), 3);
    CHECK(HashQuantized(alone.weights) == HashQuantized(together.weights));
  }
}

}  // namespace
}  // namespace quantref
