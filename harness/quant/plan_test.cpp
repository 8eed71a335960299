#include "harness/quant/plan.h"

#include <catch2/catch.hpp>
#include <optional>
#include <string>
#include <vector>

#include "harness/base/glob.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

const std::vector<LinearShape>& SmallModel() {
  static const std::vector<LinearShape> linears = {
      {"embed_tokens", 512, 128},          {"layers.0.self_attn.q_proj", 128, 128},
      {"layers.0.mlp.down_proj", 128, 96}, {"layers.1.self_attn.q_proj", 128, 128},
      {"layers.1.mlp.down_proj", 128, 96}, {"lm_head", 512, 128},
  };
  return linears;
}

// A spec that applies to every linear of the small model.
QuantizeSpec SmallSpec() {
  QuantizeSpec spec;
  spec.weights.group = 32;
  return spec;
}

SchemeOverride Matching(const std::string& pattern) {
  SchemeOverride entry;
  entry.match = pattern;
  return entry;
}

SchemeOverride WithBits(const std::string& pattern, int bits) {
  SchemeOverride entry = Matching(pattern);
  entry.bits = bits;
  return entry;
}

SchemeOverride Kept(const std::string& pattern) {
  SchemeOverride entry = Matching(pattern);
  entry.keep = true;
  return entry;
}

// The scheme's name for every linear in turn, "keep" where it has none.
std::vector<std::string> Fates(const QuantizeSpec& spec) {
  std::vector<std::string> fates;
  for (const PlannedLinear& planned : MakePlan(spec, SmallModel())) {
    fates.push_back(planned.scheme ? SchemeName(*planned.scheme) : "keep");
  }
  return fates;
}

using Names = std::vector<std::string>;
constexpr char kDefault[] = "int4 g32 asym";

TEST_CASE("plan: globs match whole names", "[plan]") {
  CHECK(GlobMatches("lm_head", "lm_head"));
  CHECK_FALSE(GlobMatches("lm_head", "lm_heads"));
  CHECK_FALSE(GlobMatches("head", "lm_head"));
  CHECK(GlobMatches("*down_proj", "layers.0.mlp.down_proj"));
  CHECK(GlobMatches("layers.*.mlp.*", "layers.11.mlp.down_proj"));
  CHECK(GlobMatches("*", ""));
  CHECK(GlobMatches("layers.?.mlp.up_proj", "layers.3.mlp.up_proj"));
  CHECK_FALSE(GlobMatches("layers.?.mlp.up_proj", "layers.11.mlp.up_proj"));
  CHECK(GlobMatches("layers.[0-2].*", "layers.2.mlp.up_proj"));
  CHECK_FALSE(GlobMatches("layers.[0-2].*", "layers.3.mlp.up_proj"));
  CHECK_FALSE(GlobMatches("layersX0*", "layers.0.mlp.up_proj"));
  CHECK_FALSE(GlobMatches("LM_HEAD", "lm_head"));
}

TEST_CASE("plan: embedding and head are kept by default", "[plan]") {
  CHECK(Fates(SmallSpec()) == Names{"keep", kDefault, kDefault, kDefault, kDefault, "keep"});
}

TEST_CASE("plan: the shapes come back in order", "[plan]") {
  const std::vector<PlannedLinear> plan = MakePlan(SmallSpec(), SmallModel());
  REQUIRE(plan.size() == SmallModel().size());
  for (size_t i = 0; i < plan.size(); ++i) {
    CHECK(plan[i].shape.name == SmallModel()[i].name);
    CHECK(plan[i].shape.rows == SmallModel()[i].rows);
    CHECK(plan[i].shape.cols == SmallModel()[i].cols);
  }
}

TEST_CASE("plan: keep takes globs, and an empty one keeps nothing", "[plan]") {
  QuantizeSpec spec = SmallSpec();
  spec.keep = {"layers.0.*", "lm_*"};
  CHECK(Fates(spec) == Names{kDefault, "keep", "keep", kDefault, kDefault, "keep"});
  spec.keep = {};
  CHECK(Fates(spec) == Names(6, kDefault));
}

TEST_CASE("plan: an override changes what it names and nothing else", "[plan]") {
  QuantizeSpec spec = SmallSpec();
  spec.overrides = {WithBits("*.down_proj", 8)};
  CHECK(Fates(spec) == Names{"keep", kDefault, "int8 g32 asym", kDefault, "int8 g32 asym", "keep"});

  SchemeOverride all = Matching("layers.1.mlp.*");
  all.symmetric = true;
  all.full_range = true;
  all.granularity = Granularity::kColumn;
  spec.overrides = {all};
  CHECK(Fates(spec) == Names{"keep", kDefault, kDefault, kDefault, "int4 column sym full", "keep"});

  SchemeOverride free = Matching("layers.1.mlp.*");
  free.zero_in_range = false;
  spec.overrides = {free};
  CHECK(Fates(spec)[4] == "int4 g32 asym min-max");
}

TEST_CASE("plan: a group implies grouping, unless a granularity is given too", "[plan]") {
  QuantizeSpec spec = SmallSpec();
  spec.weights.granularity = Granularity::kRow;
  SchemeOverride entry = Matching("*q_proj");
  entry.group = 64;
  spec.overrides = {entry};
  CHECK(Fates(spec)[1] == "int4 g64 asym");
  CHECK(Fates(spec)[2] == "int4 row asym");
  spec.overrides[0].granularity = Granularity::kTensor;
  CHECK(Fates(spec)[1] == "int4 tensor asym");
}

TEST_CASE("plan: the last override that matches wins, over keep too", "[plan]") {
  QuantizeSpec spec = SmallSpec();
  spec.overrides = {WithBits("layers.*", 8), WithBits("*.q_proj", 3)};
  CHECK(Fates(spec) ==
        Names{"keep", "int3 g32 asym", "int8 g32 asym", "int3 g32 asym", "int8 g32 asym", "keep"});
  spec.overrides = {WithBits("*.q_proj", 3), WithBits("layers.*", 8)};
  CHECK(Fates(spec)[1] == "int8 g32 asym");
  spec.overrides = {WithBits("lm_head", 6), Kept("layers.0.*")};
  CHECK(Fates(spec) == Names{"keep", "keep", "keep", kDefault, kDefault, "int6 g32 asym"});
  spec.overrides = {Kept("layers.*"), WithBits("layers.1.*", 2)};
  CHECK(Fates(spec) == Names{"keep", "keep", "keep", "int2 g32 asym", "int2 g32 asym", "keep"});
}

TEST_CASE("plan: overrides do not add up; each starts from the general scheme", "[plan]") {
  QuantizeSpec spec = SmallSpec();
  SchemeOverride symmetric = Matching("layers.0.*");
  symmetric.symmetric = true;
  spec.overrides = {WithBits("layers.*", 8), symmetric};
  CHECK(Fates(spec)[1] == "int4 g32 sym");
  CHECK(Fates(spec)[3] == "int8 g32 asym");
}

// The rounder that the plan names for every linear in turn.
Names Methods(const QuantizeSpec& spec) {
  Names methods;
  for (const PlannedLinear& planned : MakePlan(spec, SmallModel())) {
    methods.push_back(planned.method);
  }
  return methods;
}

SchemeOverride WithMethod(const std::string& pattern, const std::string& method) {
  SchemeOverride entry = Matching(pattern);
  entry.method = method;
  return entry;
}

TEST_CASE("plan: an override names the rounder of what it matches", "[plan]") {
  QuantizeSpec spec = SmallSpec();
  CHECK(Methods(spec) == Names(6));
  spec.overrides = {WithMethod("layers.*.down_proj", "rtn")};
  CHECK(Methods(spec) == Names{"", "", "rtn", "", "rtn", ""});
  CHECK(Fates(spec) == Names{"keep", kDefault, kDefault, kDefault, kDefault, "keep"});
  spec.overrides[0].bits = 8;  // both at once
  CHECK(Methods(spec)[2] == "rtn");
  CHECK(Fates(spec)[2] == "int8 g32 asym");
}

TEST_CASE("plan: the last override decides on the rounder too", "[plan]") {
  QuantizeSpec spec = SmallSpec();
  spec.overrides = {WithMethod("layers.*", "rtn"), WithMethod("layers.1.*", "gptq"),
                    WithBits("layers.1.mlp.*", 8)};
  CHECK(Methods(spec) == Names{"", "rtn", "rtn", "gptq", "", ""});
  // Naming a rounder is enough to quantize what is kept otherwise.
  spec.overrides = {WithMethod("lm_head", "rtn")};
  CHECK(Methods(spec)[5] == "rtn");
  CHECK(Fates(spec)[5] == kDefault);
}

TEST_CASE("plan: a pattern that matches nothing is an error", "[plan]") {
  QuantizeSpec spec = SmallSpec();
  spec.keep = {"lm_head", "embedding"};
  CHECK_ERROR(MakePlan(spec, SmallModel()), "keep: ", "'embedding' matches no weight",
              "layers.0.mlp.down_proj");
  spec = SmallSpec();
  spec.overrides = {WithBits("*.q_proj", 8), WithBits("layers.7.*", 8)};
  CHECK_ERROR(MakePlan(spec, SmallModel()), "overrides: ", "'layers.7.*' matches no weight");
}

TEST_CASE("plan: a scheme that does not apply names the linear at fault", "[plan]") {
  QuantizeSpec spec = SmallSpec();
  spec.weights.group = 128;  // longer than a row of some
  CHECK_NOTHROW(MakePlan(spec, SmallModel()));
  spec.overrides = {Matching("*.down_proj"), WithBits("layers.1.mlp.down_proj", 9)};
  CHECK_ERROR(MakePlan(spec, SmallModel()), "layers.1.mlp.down_proj", "found 9");
}

TEST_CASE("plan: a kept linear need not suit the scheme", "[plan]") {
  QuantizeSpec spec = SmallSpec();
  spec.weights.bits = 9;
  spec.keep.push_back("*.down_proj");
  spec.overrides = {WithBits("*.q_proj", 8)};
  CHECK(Fates(spec)[2] == "keep");
}

}  // namespace
}  // namespace quantref
