#include "eval/stats/variance_components.h"

#include <catch2/catch.hpp>
#include <functional>
#include <vector>

#include "harness/base/rng.h"

namespace quantref {
namespace {

struct MadeUpLayout {
  size_t groups, levels, seeds;
  std::vector<double> values;

  VarianceComponents Split(uint64_t seed = 0) const {
    return SplitVariance({groups, levels, seeds, values}, seed);
  }
};

MadeUpLayout LayoutOf(size_t groups, size_t levels, size_t seeds,
                      const std::function<double(size_t, size_t, size_t)>& value) {
  MadeUpLayout layout{groups, levels, seeds, {}};
  for (size_t g = 0; g < groups; ++g) {
    for (size_t l = 0; l < levels; ++l) {
      for (size_t s = 0; s < seeds; ++s) layout.values.push_back(value(g, l, s));
    }
  }
  return layout;
}

double PlusMinus(size_t i) { return i % 2 == 0 ? 1 : -1; }

TEST_CASE(
    "variance components: seeds alone have the sample variance and its chi-squared interval") {
  const std::vector<double> values = {2, 4, 4, 5, 10};
  const VarianceComponents components =
      LayoutOf(1, 1, 5, [&](size_t, size_t, size_t s) { return values[s]; }).Split();
  CHECK(components.mean == Approx(5));
  REQUIRE(components.seed);
  CHECK(components.seed->variance == Approx(9));  // 36 / 4
  CHECK(components.seed->freedom == 4);
  CHECK(components.seed->low == Approx(36 / 11.1433).epsilon(0.05));
  CHECK(components.seed->high == Approx(36 / 0.4844).epsilon(0.15));
  CHECK_FALSE(components.group);
  CHECK_FALSE(components.level);
  CHECK_FALSE(components.group_level);
  CHECK_FALSE(components.rest);
}

// Each effect is +-1, whose sample variance is 2; what has no effect has none.
TEST_CASE("variance components: each effect is found where it is, and nowhere else") {
  const auto variances = [](const VarianceComponents& components) {
    return std::vector<double>{components.group->variance, components.level->variance,
                               components.group_level->variance, components.seed->variance,
                               components.rest->variance};
  };
  const auto split = [&](const std::function<double(size_t, size_t, size_t)>& value) {
    return variances(LayoutOf(2, 2, 2, value).Split());
  };
  using Variances = std::vector<double>;
  CHECK(split([](size_t g, size_t, size_t) { return PlusMinus(g); }) == Variances{2, 0, 0, 0, 0});
  CHECK(split([](size_t, size_t l, size_t) { return PlusMinus(l); }) == Variances{0, 2, 0, 0, 0});
  CHECK(split([](size_t g, size_t l, size_t) { return PlusMinus(g + l); }) ==
        Variances{0, 0, 4, 0, 0});
  CHECK(split([](size_t, size_t, size_t s) { return PlusMinus(s); }) == Variances{0, 0, 0, 2, 0});
  // The estimate of groups adds what the rest adds to both mean squares that it takes away.
  CHECK(split([](size_t, size_t l, size_t s) { return PlusMinus(l + s); }) ==
        Variances{1, 0, 0, 0, 4});
}

TEST_CASE("variance components: one group has no spread of groups, and levels still have theirs") {
  const VarianceComponents components =
      LayoutOf(1, 3, 2, [](size_t, size_t l, size_t) { return static_cast<double>(l); }).Split();
  CHECK_FALSE(components.group);
  CHECK_FALSE(components.group_level);
  REQUIRE(components.level);
  CHECK(components.level->variance == Approx(1));
  CHECK(components.level->freedom == 2);
}

// Normal effects of these deviations, seeds within groups.
MadeUpLayout DrawLayout(Rng& rng) {
  constexpr double kGroup = 1, kLevel = 2, kBoth = 0.5, kSeed = 1, kRest = 0.5;
  std::vector<double> group, level, both, seed;
  for (size_t i = 0; i < 3; ++i) group.push_back(kGroup * rng.Normal());
  for (size_t i = 0; i < 4; ++i) level.push_back(kLevel * rng.Normal());
  for (size_t i = 0; i < 12; ++i) both.push_back(kBoth * rng.Normal());
  for (size_t i = 0; i < 12; ++i) seed.push_back(kSeed * rng.Normal());
  return LayoutOf(3, 4, 4, [&](size_t g, size_t l, size_t s) {
    return group[g] + level[l] + both[4 * g + l] + seed[4 * g + s] + kRest * rng.Normal();
  });
}

TEST_CASE(
    "variance components: without bias, and 95 % intervals hold the truth in 9 of 10 or more") {
  constexpr size_t kTrials = 100;
  struct Effect {
    std::optional<VarianceComponent> VarianceComponents::*component;
    double truth, mean = 0, held = 0;
  };
  Effect effects[] = {{&VarianceComponents::group, 1},
                      {&VarianceComponents::level, 4},
                      {&VarianceComponents::group_level, 0.25},
                      {&VarianceComponents::seed, 1},
                      {&VarianceComponents::rest, 0.25}};
  Rng rng(21);
  for (size_t trial = 0; trial < kTrials; ++trial) {
    const VarianceComponents components = DrawLayout(rng).Split(trial);
    for (Effect& effect : effects) {
      const VarianceComponent& found = *(components.*effect.component);
      effect.mean += found.variance / kTrials;
      effect.held += found.low <= effect.truth && effect.truth <= found.high ? 1.0 / kTrials : 0;
    }
  }
  for (const Effect& effect : effects) {
    CAPTURE(&effect - effects);
    CHECK(effect.mean == Approx(effect.truth).epsilon(0.25));
    CHECK(effect.held >= 0.9);
  }
}

}  // namespace
}  // namespace quantref
