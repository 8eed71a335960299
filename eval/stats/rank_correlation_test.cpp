#include "eval/stats/rank_correlation.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>
#include <utility>
#include <vector>

#include "harness/base/rng.h"
#include "harness/io/json_file.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

using Numbers = std::vector<double>;

TEST_CASE("rank correlation: ranks begin at 1, equal values share the mean of theirs") {
  CHECK(Ranks(Numbers{10, 20, 20, 5}) == Numbers{2, 3.5, 3.5, 1});
  CHECK(Ranks(Numbers{7, 7, 7}) == Numbers{2, 2, 2});
  const std::vector<size_t> groups = {5, 1, 5, 1, 5, 5};
  CHECK(RanksWithin(Numbers{1, 9, 3, 8, 2, 3}, groups) ==
        Numbers{0.125, 0.75, 0.75, 0.25, 0.375, 0.75});
}

TEST_CASE("rank correlation: by hand, and at its ends") {
  // 1 - 6 sum d^2 / (n (n^2 - 1)) with four differences of 1.
  CHECK(CorrelateRanks(Numbers{1, 2, 3, 4, 5}, Numbers{2, 1, 4, 3, 5})->rho == Approx(0.8));
  CHECK(CorrelateRanks(Numbers{1, 2, 3, 4}, Numbers{1, 10, 100, 1000})->rho == 1);
  CHECK(CorrelateRanks(Numbers{1, 2, 3, 4}, Numbers{4, 3, 2, 1})->rho == -1);
  CHECK_FALSE(CorrelateRanks(Numbers{1, 2, 3, 4}, Numbers{4, 4, 4, 4}));
  CHECK_FALSE(CorrelateRanks(Numbers{1, 2}, Numbers{2, 1}));
  CHECK_FALSE(CorrelateRanks(Numbers{}, Numbers{}));
}

TEST_CASE("rank correlation: no interval of fewer pairs than blocks have") {
  const Numbers a = {1, 2, 3, 4, 5, 6, 7, 8}, b = {1, 3, 2, 4, 6, 5, 8, 7};
  CHECK(CorrelateRanks(a, b)->interval);
  CHECK_FALSE(CorrelateRanks(std::span(a).first(7), std::span(b).first(7))->interval);
}

TEST_CASE("rank correlation: as SciPy has it, and the interval up to both's draws") {
  const nlohmann::json golden =
      ReadJsonFile(testing::SourceDir() / "eval/testdata/weight_shapes.json");
  for (const nlohmann::json& pair : golden["pairs"]) {
    const Numbers a = pair["a"].get<Numbers>(), b = pair["b"].get<Numbers>();
    const RankCorrelation found = *CorrelateRanks(a, b);
    CHECK(found.rho == Approx(pair["rho"].get<double>()).epsilon(1e-12));
    REQUIRE(found.interval);
    CHECK(found.interval->mean == found.rho);
    CHECK(found.interval->low == Approx(pair["low"].get<double>()).margin(0.02));
    CHECK(found.interval->high == Approx(pair["high"].get<double>()).margin(0.02));
  }
}

// Two normal quantities with that correlation.
std::pair<Numbers, Numbers> CorrelatedPairs(size_t count, double r, Rng& rng) {
  Numbers a, b;
  for (size_t i = 0; i < count; ++i) {
    a.push_back(rng.Normal());
    b.push_back(r * a.back() + std::sqrt(1 - r * r) * rng.Normal());
  }
  return {a, b};
}

TEST_CASE("rank correlation: order is all that counts, and a seed means the same draws") {
  Rng rng(4);
  const auto [a, b] = CorrelatedPairs(30, 0.5, rng);
  Numbers grown;
  for (const double value : a) grown.push_back(std::exp(3 * value));
  const RankCorrelation one = *CorrelateRanks(a, b), other = *CorrelateRanks(grown, b);
  CHECK(one.rho == other.rho);
  CHECK(one.interval->low == other.interval->low);
  CHECK(one.interval->high == other.interval->high);
  CHECK(CorrelateRanks(a, b, 1)->interval->low != one.interval->low);
}

// Resamples as they are defined: drawn, and ranked anew.
TEST_CASE("rank correlation: the spread is that of pairs drawn with replacement") {
  Rng rng(5);
  auto [a, b] = CorrelatedPairs(25, 0.6, rng);
  a[3] = a[7];
  b[1] = b[9];
  Rng draws(0);
  Numbers rhos;
  for (size_t resample = 0; resample < kResamples; ++resample) {
    Numbers drawn_a, drawn_b;
    for (size_t i = 0; i < a.size(); ++i) {
      const size_t at = draws.Below(a.size());
      drawn_a.push_back(a[at]);
      drawn_b.push_back(b[at]);
    }
    const Numbers x = Ranks(drawn_a), y = Ranks(drawn_b);
    double xx = 0, yy = 0, xy = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      xx += (x[i] - 13) * (x[i] - 13);
      yy += (y[i] - 13) * (y[i] - 13);
      xy += (x[i] - 13) * (y[i] - 13);
    }
    rhos.push_back(xy / std::sqrt(xx * yy));
  }
  CHECK(CorrelateRanks(a, b)->interval->standard_error ==
        Approx(MeanAndDeviation(rhos).deviation).epsilon(1e-9));
}

TEST_CASE("rank correlation: intervals hold the truth in 91 to 98 % of samples") {
  const double r = GENERATE(0.0, 0.8);
  const size_t count = 57;
  CAPTURE(r);
  const double truth = 6 / std::numbers::pi * std::asin(r / 2);  // Spearman's of normal pairs
  Rng rng(6);
  size_t held = 0;
  constexpr size_t kTrials = 200;
  for (size_t trial = 0; trial < kTrials; ++trial) {
    const auto [a, b] = CorrelatedPairs(count, r, rng);
    held += CorrelateRanks(a, b, trial)->interval->Contains(truth);
  }
  CHECK(held >= kTrials * 91 / 100);
  CHECK(held <= kTrials * 98 / 100 + 1);
}

// Of so many blocks with one pair of each of 7 groups, whose levels differ.
struct Grouped {
  Numbers a, b;
  std::vector<size_t> groups, blocks;
};

Grouped GroupedPairs(size_t blocks, double r, Rng& rng) {
  Grouped all;
  for (size_t block = 0; block < blocks; ++block) {
    const auto [a, b] = CorrelatedPairs(7, r, rng);
    for (size_t group = 0; group < a.size(); ++group) {
      all.a.push_back(a[group] + 10 * static_cast<double>(group));
      all.b.push_back(b[group] - 10 * static_cast<double>(group));
      all.groups.push_back(group);
      all.blocks.push_back(3 * block);
    }
  }
  return all;
}

TEST_CASE("rank correlation: within groups it is that of their places, drawn by blocks") {
  Rng rng(7);
  for (const size_t blocks : {2u, 6u, 7u, 8u}) {
    const Grouped all = GroupedPairs(blocks, 0.5, rng);
    const auto found = CorrelateWithin(all.a, all.b, all.groups, all.blocks);
    REQUIRE(found);
    CHECK(found->rho ==
          CorrelateRanks(RanksWithin(all.a, all.groups), RanksWithin(all.b, all.groups))->rho);
    CHECK(found->interval.has_value() == (blocks >= kMinBlocks));
  }
  // Four groups of two: 8 blocks, but 4 free pairs.
  const Numbers a = {1, 2, 3, 4, 5, 6, 7, 8}, b = {1, 2, 4, 3, 5, 6, 7, 8};
  const std::vector<size_t> groups = {0, 0, 1, 1, 2, 2, 3, 3}, blocks = {0, 1, 2, 3, 4, 5, 6, 7};
  CHECK(CorrelateWithin(a, b, groups, blocks)->rho == Approx(0.5));
  CHECK_FALSE(CorrelateWithin(a, b, groups, blocks)->interval);
}

TEST_CASE("rank correlation: intervals within groups hold the truth in most samples") {
  Rng rng(8);
  size_t held = 0;
  constexpr size_t kTrials = 60;
  for (size_t trial = 0; trial < kTrials; ++trial) {
    const Grouped all = GroupedPairs(12, 0, rng);
    held += CorrelateWithin(all.a, all.b, all.groups, all.blocks, trial)->interval->Contains(0);
  }
  CHECK(held >= kTrials * 85 / 100);
}

}  // namespace
}  // namespace quantref
