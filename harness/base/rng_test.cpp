#include "harness/base/rng.h"

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

namespace quantref {
namespace {

// The expected numbers come from an implementation of the published algorithms in Python; the first
// one of seed 0 is also the one that other libraries with this seeding give.

std::vector<uint64_t> FirstSix(uint64_t seed) {
  Rng rng(seed);
  std::vector<uint64_t> values(6);
  for (uint64_t& value : values) value = rng.Next();
  return values;
}

TEST_CASE("rng: a seed means the same stream everywhere", "[rng]") {
  CHECK(FirstSix(0) == std::vector<uint64_t>{0x99ec5f36cb75f2b4, 0xbf6e1f784956452a,
                                             0x1a5f849d4933e6e0, 0x6aa594f1262d2d2c,
                                             0xbba5ad4a1f842e59, 0xffef8375d9ebcaca});
  CHECK(FirstSix(42) == std::vector<uint64_t>{0x15780b2e0c2ec716, 0x6104d9866d113a7e,
                                              0xae17533239e499a1, 0xecb8ad4703b360a1,
                                              0xfde6dc7fe2ec5e64, 0xc50da53101795238});
  CHECK(FirstSix(~uint64_t{0}) == std::vector<uint64_t>{0x8f5520d52a7ead08, 0xc476a018caa1802d,
                                                        0x81de31c0d260469e, 0xbf658d7e065f3c2f,
                                                        0x913593fda1bca32a, 0xbb535e93941ba525});
  Rng rng(42);
  for (int i = 0; i < 999; ++i) rng.Next();
  CHECK(rng.Next() == 0x8de5848c61ab8968);
}

TEST_CASE("rng: the derived streams are pinned too", "[rng]") {
  Rng uniform(0);
  for (double expected : {0x1.33d8be6d96ebep-1, 0x1.7edc3ef092ac8p-1, 0x1.a5f849d4933e0p-4}) {
    CHECK(uniform.Uniform() == expected);
  }
  Rng below(7);
  for (uint64_t expected : {4, 4, 8, 4, 4, 1, 6, 6, 8, 9, 3, 6}) CHECK(below.Below(10) == expected);
  Rng normal(0);
  for (double expected :
       {0.5981026483626094, -0.8950525532379914, -2.415606685712082, -0.7626406521838989}) {
    CHECK(std::fabs(normal.Normal() - expected) < 1e-14);  // the logarithm is the C library's
  }
}

TEST_CASE("rng: Below covers its range evenly", "[rng]") {
  Rng rng(3);
  CHECK(rng.Below(1) == 0);
  constexpr uint64_t kLimit = 7;
  constexpr int kDraws = 70000;
  std::array<int, kLimit> counts{};
  for (int i = 0; i < kDraws; ++i) {
    const uint64_t value = rng.Below(kLimit);
    REQUIRE(value < kLimit);
    ++counts[value];
  }
  double chi_squared = 0;
  for (int count : counts) chi_squared += std::pow(count - 10000, 2) / 10000.0;
  CHECK(chi_squared < 27.9);  // 6 degrees of freedom, p = 1e-4
}

TEST_CASE("rng: Below rejects the incomplete last interval", "[rng]") {
  // 2^64 = limit + 2^62: without the rejection the lowest third would come up half of the time.
  constexpr uint64_t kThird = uint64_t{1} << 62;
  Rng rng(5);
  std::array<int, 3> counts{};
  for (int i = 0; i < 6000; ++i) {
    const uint64_t value = rng.Below(3 * kThird);
    REQUIRE(value < 3 * kThird);
    ++counts[value / kThird];
  }
  for (int count : counts) CHECK(std::abs(count - 2000) < 180);  // 5 standard deviations
}

TEST_CASE("rng: Uniform fills [0, 1)", "[rng]") {
  Rng rng(11);
  double sum = 0, least = 1, most = 0;
  constexpr int kDraws = 100000;
  for (int i = 0; i < kDraws; ++i) {
    const double value = rng.Uniform();
    sum += value;
    least = std::min(least, value);
    most = std::max(most, value);
  }
  CHECK(least >= 0);
  CHECK(most < 1);
  CHECK(least < 1e-3);
  CHECK(most > 1 - 1e-3);
  CHECK(std::fabs(sum / kDraws - 0.5) < 5 / std::sqrt(12.0 * kDraws));
}

TEST_CASE("rng: Normal has the moments of the normal distribution", "[rng]") {
  Rng rng(13);
  constexpr int kDraws = 200000;
  std::array<double, 5> moments{};
  int inside_one = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double value = rng.Normal();
    for (size_t k = 1; k < moments.size(); ++k) {
      moments[k] += std::pow(value, static_cast<double>(k)) / kDraws;
    }
    inside_one += std::fabs(value) < 1;
  }
  // Five standard deviations of each estimate: the k-th moment's variance is (E x^2k - (E x^k)^2) /
  // draws.
  const double root = std::sqrt(static_cast<double>(kDraws));
  CHECK(std::fabs(moments[1]) < 5 * std::sqrt(1.0) / root);
  CHECK(std::fabs(moments[2] - 1) < 5 * std::sqrt(2.0) / root);
  CHECK(std::fabs(moments[3]) < 5 * std::sqrt(15.0) / root);
  CHECK(std::fabs(moments[4] - 3) < 5 * std::sqrt(96.0) / root);
  CHECK(std::fabs(inside_one / static_cast<double>(kDraws) - 0.6826895) < 5 * 0.4654 / root);
}

TEST_CASE("rng: Shuffle gives every order equally often, and a pinned one", "[rng]") {
  std::vector<int> items(8);
  std::iota(items.begin(), items.end(), 0);
  Rng pinned(1);
  Shuffle(std::span(items), pinned);
  CHECK(items == std::vector<int>{7, 0, 1, 4, 3, 2, 6, 5});

  Rng rng(17);
  std::array<int, 27> counts{};  // by the order's digits in base 3
  for (int i = 0; i < 6000; ++i) {
    std::array<size_t, 3> order = {0, 1, 2};
    Shuffle(std::span<size_t>(order), rng);
    ++counts[order[0] * 9 + order[1] * 3 + order[2]];
  }
  int orders = 0;
  for (int count : counts) {
    if (count == 0) continue;
    ++orders;
    CHECK(std::abs(count - 1000) < 145);  // 5 standard deviations
  }
  CHECK(orders == 6);
}

TEST_CASE("rng: Shuffle leaves nothing and one item alone", "[rng]") {
  Rng rng(19), untouched(19);
  std::vector<int> none, one = {4};
  Shuffle(std::span(none), rng);
  Shuffle(std::span(one), rng);
  CHECK(one == std::vector<int>{4});
  CHECK(rng.Next() == untouched.Next());
}

}  // namespace
}  // namespace quantref
