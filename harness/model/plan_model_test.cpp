#include "harness/model/plan_model.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "harness/model/weights.h"
#include "harness/testing/testing.h"
#include "harness/testing/tiny_model.h"
#include "harness/testing/tiny_spec.h"

namespace quantref {
namespace {

using testing::Kept;
using testing::Spec;
using testing::TempDir;
using testing::TinyModel;
using testing::WithBits;
using Names = std::vector<std::string>;

ModelConfig ConfigOf(const TinyModel& model) {
  const TempDir dir;
  testing::WriteFile(dir / "config.json", testing::TinyConfig(model).dump());
  return ReadConfig(dir / "config.json");
}

// Bits of the linear of this name in the plan, 16 where it is kept, 0 where it is not in the plan.
int BitsOf(const std::vector<PlannedLinear>& plan, const std::string& name) {
  for (const PlannedLinear& planned : plan) {
    if (planned.shape.name == name) return planned.scheme ? planned.scheme->bits : 16;
  }
  return 0;
}

TEST_CASE("plan_model: the linears that a plan decides on", "[plan_model]") {
  const ModelConfig config = ConfigOf({.layers = 1});
  const struct {
    const char* name;
    size_t rows, cols;
  } expected[] = {
      {"embed_tokens", 64, 32},
      {"layers.0.self_attn.q_proj", 32, 32},
      {"layers.0.self_attn.k_proj", 16, 32},
      {"layers.0.self_attn.v_proj", 16, 32},
      {"layers.0.self_attn.o_proj", 32, 32},
      {"layers.0.mlp.gate_proj", 48, 32},
      {"layers.0.mlp.up_proj", 48, 32},
      {"layers.0.mlp.down_proj", 32, 48},
      {"lm_head", 64, 32},
  };
  const std::vector<LinearShape> linears = PlannableLinears(config);
  REQUIRE(linears.size() == std::size(expected));
  for (size_t i = 0; i < linears.size(); ++i) {
    CHECK(linears[i].name == expected[i].name);
    CHECK(linears[i].rows == expected[i].rows);
    CHECK(linears[i].cols == expected[i].cols);
  }
  const std::vector<LinearShape> tied = PlannableLinears(ConfigOf({.layers = 1, .tied = true}));
  CHECK(tied.size() == linears.size() - 1);
  CHECK(tied.back().name == "layers.0.mlp.down_proj");
}

TEST_CASE("plan_model: plans of an untied model", "[plan_model]") {
  const ModelConfig config = ConfigOf({});
  const auto usual = PlanModel(Spec(), config);
  CHECK(usual.size() == 16);
  CHECK(BitsOf(usual, "embed_tokens") == 16);
  CHECK(BitsOf(usual, "lm_head") == 16);
  CHECK(BitsOf(usual, "layers.1.mlp.up_proj") == 4);
  const auto head_only = PlanModel(Spec({"embed_tokens"}), config);
  CHECK(BitsOf(head_only, "embed_tokens") == 16);
  CHECK(BitsOf(head_only, "lm_head") == 4);
  CHECK_ERROR(PlanModel(Spec({"layers.2.*"}), config), "layers.2.*", "matches no weight");
}

TEST_CASE("plan_model: a tied matrix answers to both of its names", "[plan_model]") {
  const ModelConfig config = ConfigOf({.tied = true});
  const auto bits = [&config](const QuantizeSpec& spec) {
    const std::vector<PlannedLinear> plan = PlanModel(spec, config);
    CHECK(plan.size() == 15);
    CHECK(BitsOf(plan, "lm_head") == 0);
    CHECK(BitsOf(plan, "layers.0.mlp.up_proj") == 4);
    return BitsOf(plan, "embed_tokens");
  };
  CHECK(bits(Spec()) == 16);
  CHECK(bits(Spec({})) == 4);
  CHECK(bits(Spec({"embed_tokens"})) == 16);
  CHECK(bits(Spec({"lm_head"})) == 16);
  for (const std::string name : {"embed_tokens", "lm_head"}) {
    INFO(name);
    for (const Names& keep : {Names{}, Names{"embed_tokens", "lm_head"}}) {
      QuantizeSpec spec = Spec(keep);
      spec.overrides = {WithBits(name, 8)};
      CHECK(bits(spec) == 8);
      spec.overrides = {WithBits(name, 8), Kept(name)};
      CHECK(bits(spec) == 16);
    }
  }
  // The last one wins, whichever name it has.
  QuantizeSpec spec = Spec({});
  spec.overrides = {WithBits("lm_head", 8), WithBits("embed_tokens", 3)};
  CHECK(bits(spec) == 3);
  std::reverse(spec.overrides.begin(), spec.overrides.end());
  CHECK(bits(spec) == 8);
}

TEST_CASE("plan_model: the plan's matrices are the weights', in their order", "[plan_model]") {
  for (const bool tied : {false, true}) {
    const TinyModel model{.attention_bias = true, .tied = tied};
    const TempDir dir;
    testing::WriteTinyModel(dir.path(), model);
    const ModelConfig config = ReadConfig(dir / "config.json");
    const ModelWeights weights =
        LoadWeights(config, Checkpoint::Open(dir.path()), WeightType::kNative, 1);
    const std::vector<LinearShape> planned = PlannableLinears(config);
    const std::vector<const Linear*> linears = AllLinears(weights);
    REQUIRE(planned.size() == linears.size());
    for (size_t i = 0; i < planned.size(); ++i) {
      CHECK(planned[i].name == linears[i]->name);
      CHECK(planned[i].rows == linears[i]->weight.rows());
      CHECK(planned[i].cols == linears[i]->weight.cols());
    }
  }
}

}  // namespace
}  // namespace quantref
