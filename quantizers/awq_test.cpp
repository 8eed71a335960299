#include "quantizers/awq.h"

#include <catch2/catch.hpp>

#include "harness/method/calibrated_block_testing.h"
#include "harness/method/method.h"
#include "harness/method/scale_search.h"
#include "harness/quant/grid.h"
#include "harness/testing/testing.h"
#include "quantizers/registry.h"
#include "quantizers/statistics_testing.h"

namespace quantref {
namespace {

using testing::GramOf;
using testing::NormalMatrix;
using testing::RelativeDifference;
using testing::TestBlock;

const WeightScheme kThreeBitRows{.bits = 3, .granularity = Granularity::kRow};
const WeightScheme kThreeBitGroups{.bits = 3, .granularity = Granularity::kGroup, .group = 16};

Knobs AwqKnobs(std::initializer_list<std::pair<std::string_view, double>> settings) {
  Knobs knobs(Awq().knobs());
  for (const auto& [name, value] : settings) knobs.Set(name, value);
  return knobs;
}

Matrix<double> Diagonal(std::initializer_list<double> values) {
  Matrix<double> matrix(values.size(), values.size());
  std::fill_n(matrix.data(), values.size() * values.size(), 0.0);
  size_t i = 0;
  for (const double value : values) matrix(i, i) = value, ++i;
  return matrix;
}

// d^T G d of one row's group, with d what cutting at the limit and rounding change.
double GroupError(std::span<const float> weights, const WeightScheme& scheme,
                  MatrixView<const double> gram, float limit) {
  const WeightScheme row{
      .bits = scheme.bits, .granularity = Granularity::kRow, .symmetric = scheme.symmetric};
  const PackedMatrix packed = RoundToNearest({weights.data(), 1, weights.size()}, row,
                                             MatrixView<const float>(&limit, 1, 1));
  std::vector<float> rounded(weights.size());
  packed.DecodeRow(0, rounded);
  double error = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    for (size_t j = 0; j < weights.size(); ++j) {
      error += static_cast<double>(weights[i] - rounded[i]) * gram(i, j) *
               static_cast<double>(weights[j] - rounded[j]);
    }
  }
  return error;
}

TEST_CASE("awq: scales by hand", "[awq]") {
  const std::vector<double> means = {1, 16, 1e-30, HUGE_VAL, 0};
  const std::span<const double> two(means.data(), 2);
  CHECK(AwqScales(two, 0.5) == std::vector<float>{0.5f, 2});
  CHECK(AwqScales(means, 0) == std::vector<float>{1, 1, 1, 1, 1});
  // A dead channel stays as it is, one that is next to it gets the least scale, and what is not
  // finite counts as 1.
  const std::vector<float> scales = AwqScales(means, 0.5);
  CHECK(scales[2] == Approx(1e-4 / std::sqrt(4 * 1e-4)));
  CHECK(scales[1] == Approx(4 / std::sqrt(4 * 1e-4)));
  CHECK(scales[3] == scales[0]);
  CHECK(scales[4] == 1);
  CHECK(AwqScales(std::vector<double>{0, 0}, 0.95) == std::vector<float>{1, 1});
}

TEST_CASE("awq: a loud channel is scaled up, and less is lost than by rounding alone", "[awq]") {
  TestBlock test({});
  test.block.weights.norms[kAttentionNorm][5] *= 40;
  test.block.weights.norms[kMlpNorm][9] *= 40;
  test.Calibrate();
  test.Quantize(kThreeBitRows);
  const std::vector<float> ones(32, 1);
  std::vector<double> before;
  for (const ScalingGroup& group : test.groups()) {
    if (group.of_norm()) before.push_back(ScaleSearch(test.block, group).Error(ones));
  }
  const std::vector<float> gain = test.block.weights.norms[kAttentionNorm];
  Awq().Apply(test.block, AwqKnobs({{"clip", 0}}), 2);
  size_t i = 0;
  for (const ScalingGroup& group : test.groups()) {
    if (!group.of_norm()) continue;
    INFO(test.ProducerName(group));
    CHECK(ScaleSearch(test.block, group).Error(ones) < 0.5 * before[i++]);
    CHECK(test.block.notes[group.consumers[0]] != "awq ratio 0.00");
  }
  CHECK(test.block.weights.norms[kAttentionNorm][5] / gain[5] <
        0.2f * test.block.weights.norms[kAttentionNorm][6] / gain[6]);
}

TEST_CASE("awq: limits by hand", "[awq]") {
  // Codes are -1, 0, 1 and the scale is the limit s: (1 - s)^2 + 2 (s - 0.5)^2 is least at 2/3.
  Matrix<float> weights(1, 3);
  weights(0, 0) = -1, weights(0, 1) = weights(0, 2) = 0.5f;
  const WeightScheme scheme{.bits = 2, .granularity = Granularity::kRow, .symmetric = true};
  const ClipGrid clip{20, 10};
  CHECK(AwqLimits(weights.view(), scheme, Diagonal({1, 1, 1}).view(), clip, 1)(0, 0) == 0.65f);
  // Where all depends on the largest weight, or nothing on any, nothing is cut.
  CHECK(AwqLimits(weights.view(), scheme, Diagonal({100, 1, 1}).view(), clip, 1)(0, 0) == 1);
  CHECK(AwqLimits(weights.view(), scheme, Diagonal({0, 0, 0}).view(), clip, 1)(0, 0) == 1);
  CHECK(AwqLimits(weights.view(), scheme, Diagonal({1, 1, 1}).view(), {20, 1}, 1)(0, 0) == 1);
  // Where it does not matter at all, it is cut as far as the others like: to 0.5, the tenth step.
  CHECK(AwqLimits(weights.view(), scheme, Diagonal({0, 1, 1}).view(), {20, 11}, 1)(0, 0) == 0.5f);
}

TEST_CASE("awq: limits do not depend on the unit of the weights", "[awq]") {
  Rng rng(4);
  const Matrix<float> weights = NormalMatrix(8, 32, rng, 0.3), x = NormalMatrix(40, 32, rng, 3);
  Matrix<float> smaller(8, 32);
  for (size_t i = 0; i < 8 * 32; ++i) smaller.data()[i] = std::ldexp(weights.data()[i], -22);
  const Matrix<double> gram = GramOf(x);
  for (const int bits : {3, 8}) {
    const WeightScheme scheme{.bits = bits, .group = 16};
    const Matrix<float> limits = AwqLimits(weights.view(), scheme, gram.view(), {20, 10}, 1);
    const Matrix<float> found = AwqLimits(smaller.view(), scheme, gram.view(), {20, 10}, 1);
    for (size_t i = 0; i < limits.rows() * limits.cols(); ++i)
      CHECK(found.data()[i] == std::ldexp(limits.data()[i], -22));
  }
}

TEST_CASE("awq: no candidate has less error than the chosen limit", "[awq]") {
  constexpr size_t kRows = 70, kCols = 32;  // more than one tile
  Rng rng(3);
  Matrix<float> weights = NormalMatrix(kRows, kCols, rng, 0.3);
  for (size_t i = 0; i < kRows * kCols; ++i) weights.data()[i] *= std::fabs(weights.data()[i]);
  Matrix<double> gram(kCols, kCols);
  const Matrix<float> x = NormalMatrix(40, kCols, rng, 3);
  for (size_t i = 0; i < kCols; ++i) {
    for (size_t j = 0; j < kCols; ++j) {
      gram(i, j) = 0;
      for (size_t t = 0; t < 40; ++t) {
        gram(i, j) += static_cast<double>(x(t, i)) * static_cast<double>(x(t, j));
      }
    }
  }
  for (const bool symmetric : {false, true}) {
    for (WeightScheme scheme : {kThreeBitRows, kThreeBitGroups}) {
      scheme.symmetric = symmetric;
      INFO(SchemeName(scheme));
      const Matrix<float> limits = AwqLimits(weights.view(), scheme, gram.view(), {20, 10}, 2);
      const size_t width = kCols / limits.cols();
      size_t clipped = 0;
      double worst = 0;
      for (size_t r = 0; r < kRows; ++r) {
        for (size_t g = 0; g < limits.cols(); ++g) {
          const auto part = weights.view().row_span(r).subspan(g * width, width);
          const MatrixView<const double> block =
              gram.view().Rows(g * width, width).Cols(g * width, width);
          float largest = 0;
          for (const float w : part) largest = std::max(largest, std::fabs(w));
          double least = HUGE_VAL;
          for (size_t i = 0; i < 10; ++i) {
            const double kept = 1 - static_cast<double>(i) / 20;
            const float limit = static_cast<float>(kept * static_cast<double>(largest));
            least = std::min(least, GroupError(part, scheme, block, limit));
          }
          worst = std::max(worst, GroupError(part, scheme, block, limits(r, g)) / least);
          clipped += limits(r, g) < largest;
        }
      }
      CHECK(worst < 1 + 1e-5);
      CHECK(clipped > kRows / 2);
    }
  }
}

TEST_CASE("awq: limits do not depend on the number of threads", "[awq]") {
  Rng rng(4);
  const Matrix<float> weights = NormalMatrix(200, 32, rng);
  const Matrix<double> gram = Diagonal({1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8,
                                        1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8});
  const Matrix<float> once = AwqLimits(weights.view(), kThreeBitGroups, gram.view(), {20, 10}, 1);
  for (const size_t threads : {2u, 3u, 8u}) {
    const Matrix<float> again =
        AwqLimits(weights.view(), kThreeBitGroups, gram.view(), {20, 10}, threads);
    CHECK(RelativeDifference(again.view(), once.view()) == 0);
  }
}

TEST_CASE("awq: which linears are clipped", "[awq]") {
  TestBlock test({});
  test.Quantize(kThreeBitGroups);
  test.block.schemes[kUp] = kThreeBitRows;
  test.block.schemes[kGate] = WeightScheme{.bits = 3, .granularity = Granularity::kColumn};
  test.block.schemes[kO].reset();
  Awq().Apply(test.block, AwqKnobs({}), 1);
  CHECK(test.block.limits[kQ].rows() == 0);
  CHECK(test.block.limits[kK].rows() == 0);
  CHECK(test.block.limits[kV].rows() == 32);
  CHECK(test.block.limits[kV].cols() == 2);
  CHECK(test.block.limits[kO].rows() == 0);
  CHECK(test.block.limits[kGate].rows() == 0);
  CHECK(test.block.limits[kUp].rows() == 48);
  CHECK(test.block.limits[kUp].cols() == 1);
  CHECK(test.block.limits[kDown].cols() == 3);
}

TEST_CASE("awq: its searches can be switched off", "[awq]") {
  const TestBlock before({});
  TestBlock clipped({});
  clipped.Quantize(kThreeBitRows);
  Awq().Apply(clipped.block, AwqKnobs({{"scale", 0}}), 1);
  CHECK(clipped.block.weights.norms[kMlpNorm] == before.block.weights.norms[kMlpNorm]);
  CHECK(clipped.block.notes[kDown].empty());
  CHECK(clipped.block.limits[kDown].rows() == 32);

  TestBlock scaled({});
  scaled.Quantize(kThreeBitRows);
  Awq().Apply(scaled.block, AwqKnobs({{"clip", 0}}), 1);
  CHECK(scaled.block.weights.norms[kMlpNorm] != before.block.weights.norms[kMlpNorm]);
  CHECK(scaled.block.limits[kDown].rows() == 0);

  // One candidate of either search is the block as it is.
  TestBlock least({});
  least.Quantize(kThreeBitRows);
  Awq().Apply(least.block, AwqKnobs({{"grid", 1}, {"max_shrink", 0}}), 1);
  CHECK(least.block.weights.norms[kMlpNorm] == before.block.weights.norms[kMlpNorm]);
  CHECK(least.block.notes[kDown] == "awq ratio 0.00");
  const Matrix<float> down = least.block.weights.linears[kDown].weight.Decode();
  for (size_t r = 0; r < down.rows(); ++r) {
    float largest = 0;
    for (const float w : down.view().row_span(r)) largest = std::max(largest, std::fabs(w));
    CHECK(least.block.limits[kDown](r, 0) == largest);
  }
}

TEST_CASE("awq: needs what its searches read", "[awq]") {
  const DataNeeds all = Awq().needs(AwqKnobs({}));
  CHECK((all.channel_mean && all.kept == kSearchTokens && all.gram_blocks));
  CHECK_FALSE((all.channel_max || all.gram || all.true_sequential));
  const DataNeeds scale = Awq().needs(AwqKnobs({{"clip", 0}, {"tokens", 500}}));
  CHECK((scale.channel_mean && scale.kept == 500 && !scale.gram_blocks));
  const DataNeeds clip = Awq().needs(AwqKnobs({{"scale", 0}}));
  CHECK((clip.gram_blocks && !clip.channel_mean && clip.kept == 0));
  CHECK_FALSE(Awq().needs(AwqKnobs({{"scale", 0}, {"clip", 0}})).Any());
}

TEST_CASE("awq: what it searches, by hand") {
  ModelConfig config;
  config.heads = 4;
  config.layers.resize(1);
  config.kv_heads = 2;  // shared heads: v is no producer
  std::vector<PlannedLinear> linears(kLinears, {{"", 32, 16}, kThreeBitGroups});
  linears[kK].scheme.reset();
  const BlockPlan block{LayoutOf(config, 0), linears};
  const Awq awq;
  Knobs knobs(awq.knobs());
  knobs.Set("grid", 10);
  knobs.Set("max_shrink", 0.25);
  const SearchWork work = awq.Searches(block, knobs);
  // Ratios of q and v, gate and up, down; then 5 limits of v, o, gate, up and down.
  CHECK(work.rounded == 512.0 * (10 * 5 + 5 * 5));
  CHECK(work.products == 5 * 5 * 2 * 512.0 * static_cast<double>(kThreeBitGroups.group));
  CHECK(work.forwards == std::array<double, kTaps>{11, 0, 11, 11});
  CHECK(work.candidates == 10);
  CHECK(work.tokens == kSearchTokens);
  knobs.Set("scale", 0);
  knobs.Set("clip", 0);
  const SearchWork nothing = awq.Searches(block, knobs);
  CHECK(nothing.rounded == 0);
  CHECK(nothing.products == 0);
  CHECK(nothing.forwards == std::array<double, kTaps>{});
}

TEST_CASE("awq: what it has clipped nothing scales afterwards", "[awq]") {
  const auto check = [](std::vector<const Transform*> transforms, double clip) {
    Method method;
    method.transforms = std::move(transforms);
    method.knobs.emplace("awq", AwqKnobs({{"clip", clip}}));
    CheckSupports(method, {}, true);
  };
  const Transform *const awq = FindTransform("awq"), *const other = FindTransform("smoothquant");
  CHECK_ERROR(check({awq, other}, 1), "found smoothquant behind awq", "write smoothquant+awq");
  check({awq, other}, 0);
  check({other, awq}, 1);
}

}  // namespace
}  // namespace quantref
