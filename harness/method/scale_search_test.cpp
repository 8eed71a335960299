#include "harness/method/scale_search.h"

#include <catch2/catch.hpp>
#include <limits>

#include "harness/method/calibrated_block_testing.h"
#include "harness/quant/grid.h"

namespace quantref {
namespace {

using testing::BlockSpec;
using testing::TestBlock;

const WeightScheme kThreeBits{.bits = 3, .granularity = Granularity::kGroup, .group = 16};

std::vector<float> ScalesFor(const TestBlock& test, Tap tap, double exponent) {
  std::vector<float> scales;
  for (const double mean : test.block.input(tap).channel_mean) {
    scales.push_back(static_cast<float>(std::pow(mean, exponent)));
  }
  return scales;
}

Matrix<float> ModuleOutput(const TestBlock& test, Tap tap, const Matrix<float>& x) {
  Matrix<float> y(x.rows(), test.config.hidden);
  Workspace work;
  const BlockWeights& weights = test.block.weights;
  if (tap == Tap::kAttentionInput) {
    AttentionForward(test.block.shape, weights, x.view(), y.view(), work);
  } else if (tap == Tap::kMlpInput) {
    MlpForward(test.block.shape, weights, x.view(), y.view(), work);
  } else {
    const Linear& linear = tap == Tap::kMlpHidden ? weights.linears[kDown] : weights.linears[kO];
    ApplyLinear(linear, x.view(), y.view(), work.linear);
  }
  return y;
}

// The error the long way: a second block is folded, its weights replaced by rounded ones.
double ErrorByHand(const TestBlock& test, TestBlock& other, const ScalingGroup& group,
                   std::span<const float> scales) {
  Fold(other.block, group, scales);
  for (const LinearIndex reader : group.consumers) {
    if (!test.block.schemes[reader]) continue;
    Linear& linear = other.block.weights.linears[reader];
    linear.weight = Weight(std::make_shared<PackedMatrix>(
        RoundToNearest(linear.weight.Decode().view(), *test.block.schemes[reader])));
    linear.activations = other.block.FormatFor(other.block.input(group.tap).channel_max);
  }
  double sum = 0, count = 0;
  for (size_t i = 0; i < test.samples.size(); ++i) {
    const Matrix<float> want = ModuleOutput(test, group.tap, test.block.input(group.tap).kept[i]);
    const Matrix<float> got = ModuleOutput(other, group.tap, other.block.input(group.tap).kept[i]);
    for (size_t k = 0; k < want.rows() * want.cols(); ++k) {
      sum += std::pow(static_cast<double>(got.data()[k]) - static_cast<double>(want.data()[k]), 2);
      ++count;
    }
  }
  return sum / count;
}

TEST_CASE("scale search: the error is that of the folded and rounded block", "[scale_search]") {
  const std::optional<ActivationScheme> activations[] = {
      std::nullopt, ActivationScheme{.bits = 6}, ActivationScheme{.bits = 6, .per_token = false},
      ActivationScheme{.bits = 6, .per_token = false, .dynamic = false}};
  for (const BlockSpec& spec : {BlockSpec{}, BlockSpec{.kv_heads = 2, .bias = true}}) {
    for (const auto& scheme : activations) {
      TestBlock test(spec);
      test.Quantize(kThreeBits);
      test.block.schemes[kK].reset();
      test.block.activations = scheme;
      for (const ScalingGroup& group : test.groups()) {
        INFO(test.ProducerName(group) << (scheme ? ", " + ActivationName(*scheme) : ""));
        TestBlock other(spec);
        other.block.activations = scheme;
        const std::vector<float> scales = ScalesFor(test, group.tap, 0.5);
        const double error = ScaleSearch(test.block, group).Error(scales);
        CHECK(error > 1e-6);
        CHECK(error == Approx(ErrorByHand(test, other, group, scales)).epsilon(1e-4));
      }
    }
  }
}

TEST_CASE("scale search: nothing is lost where nothing is rounded", "[scale_search]") {
  const TestBlock test({});
  for (const ScalingGroup& group : test.groups()) {
    INFO(test.ProducerName(group));
    const ScaleSearch search(test.block, group);
    CHECK(search.Error(ScalesFor(test, group.tap, 0)) == 0);
    CHECK(search.Error(ScalesFor(test, group.tap, 1)) < 1e-10);
  }
}

TEST_CASE("scale search: the block is left as it was", "[scale_search]") {
  TestBlock test({});
  test.Quantize(kThreeBits);
  const BlockWeights before = test.block.weights;
  for (const ScalingGroup& group : test.groups()) {
    ScaleSearch(test.block, group).Error(ScalesFor(test, group.tap, 1));
  }
  for (size_t i = 0; i < kLinears; ++i) {
    CHECK(before.linears[i].weight.SharesStorage(test.block.weights.linears[i].weight));
    CHECK_FALSE(test.block.weights.linears[i].activations.has_value());
  }
}

TEST_CASE("scale search: scales beyond FP16 are infinitely bad", "[scale_search]") {
  TestBlock test({});
  test.Quantize(kThreeBits);
  const ScalingGroup group = test.groups().front();
  const ScaleSearch search(test.block, group);
  const std::vector<float> huge(32, 1e9f), ones(32, 1);
  CHECK(search.Error(huge) == std::numeric_limits<double>::infinity());
  CHECK(search.Best(std::vector{huge, ones, huge}, 2) == 1);
  CHECK(search.Best(std::vector{huge, huge}, 1) == 0);
}

TEST_CASE("scale search: the first of the best, for any number of threads", "[scale_search]") {
  TestBlock test({});
  test.Quantize(kThreeBits);
  for (const ScalingGroup& group : test.groups()) {
    INFO(test.ProducerName(group));
    const ScaleSearch search(test.block, group);
    std::vector<std::vector<float>> candidates;
    for (const double exponent : {-2.0, 0.0, 0.3, 0.6, 0.3, 0.0, 2.0}) {
      candidates.push_back(ScalesFor(test, group.tap, exponent));
    }
    size_t best = 0;
    for (size_t i = 0; i < candidates.size(); ++i) {
      if (search.Error(candidates[i]) < search.Error(candidates[best])) best = i;
    }
    for (const size_t threads : {1u, 2u, 4u}) CHECK(search.Best(candidates, threads) == best);
  }
}

TEST_CASE("scale search: what is not a number is not the best", "[scale_search]") {
  TestBlock test({});
  test.Quantize(kThreeBits);
  const ScaleSearch search(test.block, test.groups().back());
  std::vector<float> ones(48, 1), tiny = ones;
  tiny[3] = std::numeric_limits<float>::denorm_min();  // x / s overflows, w * s vanishes
  CHECK_FALSE(std::isfinite(search.Error(tiny)));
  CHECK(search.Best(std::vector{tiny, ones}, 1) == 1);
}

}  // namespace
}  // namespace quantref
