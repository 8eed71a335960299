#include "eval/stats/stats.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <utility>

#include "eval/stats/plain_bootstrap.h"
#include "harness/base/rng.h"

namespace quantref {
namespace {

// Blocks of unequal size cut from a series with correlation `phi` between neighbours, mean 0.3, and
// noise skewed like NLL differences are.
std::vector<BlockSum> CorrelatedBlocks(size_t blocks, double phi, Rng& rng) {
  std::vector<BlockSum> result;
  for (size_t b = 0; b < blocks; ++b) {
    const size_t count = 40 + rng.Below(60);
    double state = rng.Normal() / std::sqrt(1 - phi * phi);
    BlockSum block;
    for (size_t i = 0; i < count; ++i) {
      const double skewed = -std::log(1 - rng.Uniform()) - 1;  // exponential, mean 0, variance 1
      state = phi * state + skewed;
      block.sum += 0.3 + state;
      block.count += 1;
    }
    result.push_back(block);
  }
  return result;
}

// Blocks of one size whose sums are skewed as strongly as the waiting time for the fourth event is
// (skewness 1), mean 0.3 a position.
std::vector<BlockSum> SkewedBlocks(size_t blocks, Rng& rng) {
  constexpr double kEvents = 4, kCount = 100;
  std::vector<BlockSum> result;
  for (size_t b = 0; b < blocks; ++b) {
    double waited = 0;
    for (double event = 0; event < kEvents; ++event) waited -= std::log(1 - rng.Uniform());
    result.push_back({0.3 * kCount * waited / kEvents, kCount});
  }
  return result;
}

// The share of series whose interval holds their true mean, 0.3.
template <typename Series>
double Coverage(size_t trials, const Series& series) {
  Rng rng(1234);
  size_t held = 0;
  for (size_t trial = 0; trial < trials; ++trial)
    held += MeanInterval(series(rng), trial)->Contains(0.3);
  return static_cast<double>(held) / static_cast<double>(trials);
}

TEST_CASE("a 95 % interval holds the truth in 93 to 97 % of correlated series") {
  const size_t blocks = GENERATE(size_t{24}, size_t{60});
  const double phi = GENERATE(0.0, 0.9);
  CAPTURE(blocks, phi);
  const double coverage =
      Coverage(800, [&](Rng& rng) { return CorrelatedBlocks(blocks, phi, rng); });
  CHECK(coverage >= 0.93);
  CHECK(coverage <= 0.97);
}

TEST_CASE("few blocks, skewed ones too: the interval holds the truth in 92.5 to 97 % of series") {
  const size_t blocks = GENERATE(8u, 10u, 12u, 15u, 16u, 24u);
  const size_t trials = blocks < kBootstrapBlocks ? 8000 : 600;
  CAPTURE(blocks);
  const double correlated = Coverage(std::min<size_t>(trials, 2000),
                                     [&](Rng& rng) { return CorrelatedBlocks(blocks, 0.9, rng); });
  const double skewed = Coverage(trials, [&](Rng& rng) { return SkewedBlocks(blocks, rng); });
  CHECK(correlated >= 0.925);
  CHECK(correlated <= 0.97);
  CHECK(skewed >= 0.925);
  CHECK(skewed <= 0.97);
}

TEST_CASE("few blocks: the interval stays near them, whatever the seed") {
  // Windows of 100 positions with so many of the same top-1: the bootstrap's upper end moves
  // between 83 and 92 % with its draws.
  std::vector<BlockSum> blocks;
  for (const double same : {78.1, 78.4, 78.5, 78.6, 78.7, 78.9, 82.9, 83.2})
    blocks.push_back({same, 100});
  const Interval interval = *MeanInterval(blocks, 0);
  CHECK(interval.mean == Approx(0.796625));
  // 2.364624 times the standard error, 0.0074425.
  CHECK(interval.low == Approx(0.796625 - 0.0175987).epsilon(1e-6));
  CHECK(interval.high == Approx(0.796625 + 0.0175987).epsilon(1e-6));
  CHECK(MeanInterval(blocks, 1)->high == interval.high);
}

TEST_CASE("positions taken as independent give an interval that is far too short") {
  Rng rng(5);
  size_t held = 0;
  constexpr size_t kTrials = 400;
  for (size_t trial = 0; trial < kTrials; ++trial) {
    double sum = 0, squares = 0, state = 0;
    constexpr size_t kPositions = 2000;
    for (size_t i = 0; i < kPositions; ++i) {
      state = 0.9 * state + rng.Normal();
      sum += state;
      squares += state * state;
    }
    const double error = IndependentStandardError(sum, squares, kPositions);
    held += std::fabs(sum / kPositions) < 1.96 * error;
  }
  CHECK(held < kTrials * 6 / 10);  // where the truth should be held in 95 %
}

TEST_CASE("bootstrap: as its definition written in loops") {
  Rng rng(5);
  for (const size_t n : {kBootstrapBlocks, size_t{17}, size_t{177}, size_t{1024}, size_t{1025}}) {
    INFO(n);
    const std::vector<BlockSum> blocks = CorrelatedBlocks(n, 0.5, rng);
    const Interval plain = PlainMeanInterval(blocks, 3), interval = *MeanInterval(blocks, 3);
    CHECK(interval.mean == Approx(plain.mean).epsilon(1e-9));
    CHECK(interval.low == Approx(plain.low).epsilon(1e-9));
    CHECK(interval.high == Approx(plain.high).epsilon(1e-9));
    CHECK(interval.standard_error == Approx(plain.standard_error).epsilon(1e-9));
  }
}

TEST_CASE("bootstrap: mean, determinism, degenerate and few blocks") {
  std::vector<BlockSum> blocks;
  for (size_t i = 0; i < 10; ++i) blocks.push_back({static_cast<double>(i), 2.0});
  const Interval interval = *MeanInterval(blocks, 7);
  CHECK(interval.mean == Approx(45.0 / 20));
  CHECK(interval.low < interval.mean);
  CHECK(interval.high > interval.mean);
  // Standard error of the mean of i/2, i = 0..9: deviation 3.0277 / 2, over sqrt(10).
  CHECK(interval.standard_error == Approx(3.0276503541 / 2 / std::sqrt(10.0)));
  const Interval again = *MeanInterval(blocks, 7);
  CHECK(again.low == interval.low);
  CHECK(again.high == interval.high);

  const std::vector<BlockSum> equal(20, BlockSum{3.0, 4.0});
  CHECK(MeanInterval(equal)->low == 0.75);
  CHECK(MeanInterval(equal)->high == 0.75);
  CHECK_FALSE(MeanInterval(std::span(blocks).first(kMinBlocks - 1)).has_value());
}

TEST_CASE("shifting every position by a constant shifts the interval by it") {
  Rng rng(3);
  std::vector<BlockSum> blocks = CorrelatedBlocks(30, 0.5, rng), shifted = blocks;
  for (BlockSum& block : shifted) block.sum += 10 * block.count;
  const Interval a = *MeanInterval(blocks), b = *MeanInterval(shifted);
  CHECK(b.low - a.low == Approx(10).epsilon(1e-9));
  CHECK(b.high - a.high == Approx(10).epsilon(1e-9));
}

TEST_CASE("quantiles interpolate between order statistics") {
  std::vector<double> values = {4, 1, 3, 2};
  CHECK(Quantile(values, 0) == 1);
  CHECK(Quantile(values, 1) == 4);
  CHECK(Quantile(values, 0.5) == 2.5);
  CHECK(Quantile(values, 0.9) == Approx(3.7));
  std::vector<double> one = {5};
  CHECK(Quantile(one, 0.3) == 5);
}

TEST_CASE("spread and detectable difference") {
  const Spread spread = MeanAndDeviation(std::vector<double>{1, 2, 3, 4});
  CHECK(spread.mean == Approx(2.5));
  CHECK(spread.deviation == Approx(1.2909944487));
  CHECK(MeanAndDeviation(std::vector<double>{7}).deviation == 0);
  CHECK(MinimumDetectable(1) == Approx(2.8015852181));
  CHECK(IndependentStandardError(10, 30, 4) == Approx(std::sqrt(5.0 / 3 / 4)));
}

TEST_CASE("bootstrap: an interval does not depend on what was estimated before it") {
  std::vector<BlockSum> few, many;
  Rng rng(11);
  for (size_t i = 0; i < 1100; ++i) {
    many.push_back({rng.Normal(), static_cast<double>(50 + rng.Below(9))});
    if (i < 20) few.push_back(many.back());
  }
  const auto interval = [](std::span<const BlockSum> blocks, uint64_t seed) {
    const std::optional<Interval> estimate = MeanInterval(blocks, seed);
    return std::pair(estimate->low, estimate->high);
  };
  const auto first = interval(few, 0), other_seed = interval(few, 1), large = interval(many, 0);
  CHECK(first != other_seed);
  CHECK(interval(few, 0) == first);
  CHECK(interval(few, 0) == first);
  CHECK(interval(many, 0) == large);
  CHECK(interval(few, 1) == other_seed);
}

}  // namespace
}  // namespace quantref
