#include "harness/quant/levels.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <set>
#include <vector>

#include "harness/base/rng.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

using testing::kInfinity;

// The distance of the level nearest to x, by looking at all of them.
double LeastDistance(const LevelTable& table, float x) {
  double least = kInfinity;
  for (size_t code = 0; code < table.size(); ++code)
    least = std::min(least, std::fabs(static_cast<double>(x) - static_cast<double>(table[code])));
  return least;
}

void CheckNearest(const LevelTable& table, float x) {
  const size_t code = table.Nearest(x);
  REQUIRE(code < table.size());
  const double distance = std::fabs(static_cast<double>(x) - static_cast<double>(table[code]));
  if (distance != LeastDistance(table, x)) FAIL("of " << x << ": code " << code);
}

TEST_CASE("levels: the nearest of random levels is the nearest by looking at all") {
  Rng rng(1);
  for (const size_t count : {2, 3, 4, 5, 8, 15, 16, 17, 100, 256}) {
    for (const Midpoint midpoint : {Midpoint::kLower, Midpoint::kEvenCode}) {
      std::vector<float> levels(count);
      for (float& level : levels) level = static_cast<float>(rng.Normal());
      const LevelTable table(levels, midpoint);
      CHECK(table.size() == count);
      for (int i = 0; i < 2000; ++i) CheckNearest(table, static_cast<float>(3 * rng.Normal()));
      for (size_t code = 0; code < count; ++code) {
        CHECK(table.Nearest(levels[code]) == code);
        for (const float to : {-kInfinity, kInfinity})
          CheckNearest(table, std::nextafter(levels[code], to));
      }
      for (size_t rank = 0; rank + 1 < count; ++rank) {
        const float middle = table.Ranked(rank) / 2 + table.Ranked(rank + 1) / 2;
        for (const float x :
             {middle, std::nextafter(middle, -kInfinity), std::nextafter(middle, kInfinity)})
          CheckNearest(table, x);
      }
    }
  }
}

TEST_CASE("levels: midway the lower one, or the one of the even code") {
  constexpr float kLevels[] = {-2, 0, 1, 4, 6};
  const LevelTable lower(kLevels, Midpoint::kLower), even(kLevels, Midpoint::kEvenCode);
  const std::vector<float> midpoints = {-1, 0.5f, 2.5f, 5};
  std::vector<size_t> by_lower, by_even;
  for (const float x : midpoints) {
    by_lower.push_back(lower.Nearest(x));
    by_even.push_back(even.Nearest(x));
  }
  CHECK(by_lower == std::vector<size_t>{0, 1, 2, 3});
  CHECK(by_even == std::vector<size_t>{0, 2, 2, 4});
}

TEST_CASE("levels: a midpoint that FP32 cannot hold is decided exactly") {
  constexpr float kOne = 1.0f, kNext = 1.0f + 0x1p-23f;  // neighbours
  constexpr float kLevels[] = {0x1p-24f, kOne + 0x1p-22f};
  const LevelTable table(kLevels, Midpoint::kLower);
  // The middle is 0.5 + 2^-23 + 2^-25; its neighbours below and above in FP32.
  CHECK(table.Nearest(0.5f + 0x1p-23f) == 0);
  CHECK(table.Nearest(0.5f + 0x1p-23f + 0x1p-24f) == 1);
  constexpr float kNeighbours[] = {kOne, kNext};
  CHECK(LevelTable(kNeighbours, Midpoint::kLower).Nearest(kNext) == 1);
}

TEST_CASE("levels: of equal levels rounding gives the smallest code") {
  constexpr float kLevels[] = {3, -0.0f, 1, 0, 1};
  const LevelTable table(kLevels, Midpoint::kLower);
  CHECK(table.size() == 5);
  CHECK(table.distinct() == 3);
  std::set<size_t> given;
  for (float x = -1; x <= 4; x += 0.125f) given.insert(table.Nearest(x));
  CHECK(given == std::set<size_t>{0, 1, 2});
  CHECK(table[4] == 1);  // all codes decode
}

TEST_CASE("levels: what is beyond the ends goes there, and what is no number to the lowest") {
  constexpr float kLevels[] = {1, -3, 2};
  const LevelTable table(kLevels, Midpoint::kLower);
  CHECK(table.Nearest(kInfinity) == 2);
  CHECK(table.Nearest(-kInfinity) == 1);
  CHECK(table.Nearest(std::numeric_limits<float>::quiet_NaN()) == 1);
  CHECK(table.Largest() == 3);
  CHECK(LevelTable().empty());
}

}  // namespace
}  // namespace quantref
