#include "quantizers/smoothquant.h"

#include <catch2/catch.hpp>

#include "harness/method/calibrated_block_testing.h"
#include "harness/method/scale_search.h"

namespace quantref {
namespace {

using testing::TestBlock;

const WeightScheme kEightBitRows{.bits = 8, .granularity = Granularity::kRow, .symmetric = true};

Knobs SmoothQuantKnobs(std::initializer_list<std::pair<std::string_view, double>> settings) {
  Knobs knobs(SmoothQuant().knobs());
  for (const auto& [name, value] : settings) knobs.Set(name, value);
  return knobs;
}

// Largest |w| of each column over the linears.
std::vector<float> ColumnMax(const TestBlock& test, std::initializer_list<size_t> linears) {
  std::vector<float> largest;
  for (const size_t linear : linears) {
    const Matrix<float> weights = test.block.weights.linears[linear].weight.Decode();
    largest.resize(weights.cols());
    for (size_t r = 0; r < weights.rows(); ++r) {
      for (size_t j = 0; j < weights.cols(); ++j) {
        largest[j] = std::max(largest[j], std::fabs(weights(r, j)));
      }
    }
  }
  return largest;
}

void CheckAllOne(const std::vector<float>& values) {
  for (const float value : values) CHECK(value == Approx(1).epsilon(1e-5));
}

TEST_CASE("smoothquant: equation 4 by hand", "[smoothquant]") {
  const std::vector<float> x = {4, 16}, w = {1, 4};
  CHECK(SmoothQuantScales(x, w, 0.5) == std::vector<float>{2, 2});
  CHECK(SmoothQuantScales(x, w, 1) == x);
  CHECK(SmoothQuantScales(x, w, 0) == std::vector<float>{1, 0.25f});
  // 16^(3/4) / 4^(1/4)
  CHECK(SmoothQuantScales(x, w, 0.75)[1] == Approx(8 / std::sqrt(2)));
}

TEST_CASE("smoothquant: dead channels get finite scales", "[smoothquant]") {
  const std::vector<float> x = {0, 1, 0}, w = {1, 0, 0};
  CHECK(SmoothQuantScales(x, w, 0.5)[0] == 1e-5f);
  CHECK(SmoothQuantScales(x, w, 0.5)[1] == Approx(std::sqrt(1e5)));
  CHECK(SmoothQuantScales(x, w, 0.5)[2] == 1e-5f);
  CHECK(SmoothQuantScales(x, w, 0)[2] == Approx(1e5));  // 0^0 = 1
  CHECK(SmoothQuantScales(x, w, 1)[2] == 1e-5f);
}

TEST_CASE("smoothquant: alpha 1 makes every channel's maximum 1", "[smoothquant]") {
  TestBlock test({.kv_heads = 2});
  test.Quantize(kEightBitRows);
  SmoothQuant().Apply(test.block, SmoothQuantKnobs({{"alpha", 1}}), 1);
  const auto inputs = test.Collect();
  CheckAllOne(inputs[static_cast<size_t>(Tap::kAttentionInput)].channel_max);
  CheckAllOne(inputs[static_cast<size_t>(Tap::kMlpInput)].channel_max);
  CHECK(test.block.notes[kK] == "alpha 1.00");
}

TEST_CASE("smoothquant: alpha 0 makes every column's maximum 1", "[smoothquant]") {
  TestBlock test({.kv_heads = 2});
  test.Quantize(kEightBitRows);
  SmoothQuant().Apply(test.block, SmoothQuantKnobs({{"alpha", 0}}), 1);
  CheckAllOne(ColumnMax(test, {kQ, kK, kV}));
  CheckAllOne(ColumnMax(test, {kGate, kUp}));
}

TEST_CASE("smoothquant: alpha 0.5 gives inputs and weights the same maxima", "[smoothquant]") {
  TestBlock test({});
  test.Quantize(kEightBitRows);
  SmoothQuant().Apply(test.block, SmoothQuantKnobs({}), 1);
  const std::vector<float> weights = ColumnMax(test, {kGate, kUp});
  for (size_t j = 0; j < weights.size(); ++j) {
    CHECK(test.block.input(Tap::kMlpInput).channel_max[j] == Approx(weights[j]).epsilon(1e-5));
  }
  CHECK(test.block.notes[kGate] == "alpha 0.50");
}

TEST_CASE("smoothquant: only what norms produce is scaled", "[smoothquant]") {
  const TestBlock before({});
  TestBlock test({});
  test.Quantize(kEightBitRows);
  for (const double search : {0, 1}) {
    SmoothQuant().Apply(test.block, SmoothQuantKnobs({{"search", search}}), 1);
    CHECK(ColumnMax(test, {kO}) == ColumnMax(before, {kO}));
    CHECK(ColumnMax(test, {kDown}) == ColumnMax(before, {kDown}));
    CHECK(test.block.notes[kO].empty());
    CHECK(test.block.notes[kDown].empty());
  }
}

TEST_CASE("smoothquant: kept readers count, and groups without quantized ones are left alone",
          "[smoothquant]") {
  const TestBlock before({});
  TestBlock test({});
  test.block.schemes[kQ] = kEightBitRows;
  SmoothQuant().Apply(test.block, SmoothQuantKnobs({{"alpha", 0}}), 1);
  CheckAllOne(ColumnMax(test, {kQ, kK, kV}));
  CHECK(test.block.weights.norms[kMlpNorm] == before.block.weights.norms[kMlpNorm]);
  CHECK(test.block.notes[kQ] == "alpha 0.00");
  CHECK(test.block.notes[kK].empty());
}

TEST_CASE("smoothquant: the searched alpha is the best of its grid", "[smoothquant]") {
  TestBlock test({});
  test.block.weights.norms[kMlpNorm][7] *= 60;
  test.Calibrate();
  test.Quantize({.bits = 4, .granularity = Granularity::kRow, .symmetric = true});
  test.block.activations = ActivationScheme{.bits = 4};
  const ScalingGroup group = test.groups()[2];
  REQUIRE(group.tap == Tap::kMlpInput);
  const ScaleSearch search(test.block, group);
  const std::vector<float> weight_max = ColumnMax(test, {kGate, kUp});
  const auto error = [&](double alpha) {
    return search.Error(
        SmoothQuantScales(test.block.input(group.tap).channel_max, weight_max, alpha));
  };
  double least = HUGE_VAL;
  for (int i = 0; i <= 20; ++i) least = std::min(least, error(i / 20.0));

  TestBlock searched({});
  searched.block.weights.norms[kMlpNorm][7] *= 60;
  searched.Calibrate();
  searched.block.schemes = test.block.schemes;
  searched.block.activations = test.block.activations;
  SmoothQuant().Apply(searched.block, SmoothQuantKnobs({{"search", 1}}), 2);
  const std::string& note = searched.block.notes[kUp];
  REQUIRE(note.starts_with("alpha "));
  CHECK(error(std::stod(note.substr(6))) == least);
  CHECK(least < error(0));
  CHECK(least < 0.5 * search.Error(std::vector<float>(32, 1)));
}

TEST_CASE("smoothquant: needs the inputs themselves only to search", "[smoothquant]") {
  const DataNeeds fixed = SmoothQuant().needs(SmoothQuantKnobs({}));
  CHECK((fixed.channel_max && fixed.kept == 0 && !fixed.channel_mean && !fixed.gram));
  const DataNeeds search = SmoothQuant().needs(SmoothQuantKnobs({{"search", 1}}));
  CHECK((search.channel_max && search.kept > 0));
}

}  // namespace
}  // namespace quantref
