#include "eval/stats/rank_sum.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "harness/base/rng.h"

namespace quantref {
namespace {

using Values = std::vector<double>;

TEST_CASE("rank sum: p of complete separation is 2 / binomial(n + m, n)") {
  CHECK(CompareSamples(Values{1, 2, 3, 4, 5}, Values{6, 7, 8, 9, 10}).p == Approx(2.0 / 252));
  CHECK(CompareSamples(Values{6, 7, 8, 9}, Values{1, 2, 3, 4}).p == Approx(2.0 / 70));
  CHECK(CompareSamples(Values{1, 2, 3}, Values{4, 5, 6}).p == Approx(0.1));
}

// The shares of all orders of the values that are as extreme, counted one by one.
TEST_CASE("rank sum: p of partly separated samples") {
  CHECK(CompareSamples(Values{1.1, 2.3, 3.7, 4.1, 5.9}, Values{2.2, 4.4, 6.1, 7.3, 8.8}).p ==
        Approx(0.15079365079365079));
  CHECK(CompareSamples(Values{1, 5, 6, 9}, Values{2, 3, 4, 7, 8, 10}).p ==
        Approx(0.9142857142857143));
}

TEST_CASE("rank sum: equal samples differ by nothing") {
  const RatioOfSamples same = CompareSamples(Values{3, 3, 3, 3, 3}, Values{3, 3, 3, 3, 3});
  CHECK(same.p == 1);
  CHECK(same.ratio == 1);
  CHECK(same.interval->low == 1);
  CHECK(same.interval->high == 1);
}

TEST_CASE("rank sum: the ratio is the median of all pairs' ratios, the interval holds it") {
  // Ratios 2, 2, 4, 1: the median between 2 and 2.
  CHECK(CompareSamples(Values{1, 2}, Values{2, 4}).ratio == Approx(2));
  const RatioOfSamples result =
      CompareSamples(Values{10, 11, 12, 13, 14}, Values{20, 22, 24, 26, 28});
  CHECK(result.ratio == Approx(2));
  // U <= 2 is rejected at 5 %: the third smallest and largest of the 25 ratios.
  CHECK(result.interval->low == Approx(20.0 / 13).epsilon(0.05));
  CHECK(result.interval->low < 2);
  CHECK(result.interval->high > 2);
}

TEST_CASE("rank sum: too few samples give no interval") {
  CHECK_FALSE(CompareSamples(Values{1, 2, 3}, Values{4, 5, 6}).interval);
  CHECK(CompareSamples(Values{1, 2, 3, 4}, Values{4, 5, 6, 7}).interval);
}

TEST_CASE("rank sum: intervals hold the true ratio 95 times of 100 or more") {
  Rng rng(1);
  int held = 0, rejected = 0;
  constexpr int kTrials = 2000;
  for (int trial = 0; trial < kTrials; ++trial) {
    Values a, b;
    for (size_t i = 0; i < 5; ++i) a.push_back(std::exp(0.1 * rng.Normal()));
    for (size_t i = 0; i < 6; ++i) b.push_back(1.3 * std::exp(0.1 * rng.Normal()));
    const RatioOfSamples result = CompareSamples(a, b);
    held += result.interval->Contains(1.3);
    for (double& value : b) value /= 1.3;
    rejected += CompareSamples(a, b).p <= 0.05;
  }
  CHECK(held >= 0.945 * kTrials);
  CHECK(rejected <= 0.055 * kTrials);
  CHECK(rejected > 0.01 * kTrials);  // the test does test
}

TEST_CASE("rank sum: many samples") {
  Rng rng(2);
  Values a, b;
  for (size_t i = 0; i < kMostRanked; ++i) {
    a.push_back(std::exp(0.02 * rng.Normal()));
    b.push_back(1.05 * std::exp(0.02 * rng.Normal()));
  }
  const RatioOfSamples result = CompareSamples(a, b);
  CHECK(result.p < 1e-6);
  CHECK(result.ratio == Approx(1.05).epsilon(0.01));
  CHECK(result.interval->HalfWidth() < 0.01);
}

TEST_CASE("rank sum: of more samples than the test takes some are taken, from the whole of them") {
  Rng rng(3);
  Values a, b;
  for (size_t i = 0; i < 10 * kMostRanked + 7; ++i) {
    a.push_back(std::exp(0.02 * rng.Normal()));
    b.push_back(1.05 * std::exp(0.02 * rng.Normal()));
  }
  CHECK(CompareSamples(a, b).ratio == Approx(1.05).epsilon(0.01));
  CHECK(CompareSamples(a, {b.data(), 5}).interval);
  std::fill(b.begin() + kMostRanked, b.end(), 2.0);  // a machine that got slower on the way
  CHECK(CompareSamples(a, b).ratio > 1.5);
}

}  // namespace
}  // namespace quantref
