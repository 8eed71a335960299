#include "eval/stats/variance_components.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "eval/stats/stats.h"
#include "harness/base/check.h"
#include "harness/base/rng.h"

namespace quantref {
namespace {

// The layout's mean squares, in the order in which they are drawn.
enum Source : size_t { kGroup, kLevel, kGroupLevel, kSeed, kRest, kSources };

struct MeanSquare {
  double value = 0;
  size_t freedom = 0;  // 0: there is none, and it counts as 0
};
using MeanSquares = std::array<MeanSquare, kSources>;

// Means over whatever is not fixed.
class LayoutMeans {
 public:
  explicit LayoutMeans(const BalancedLayout& layout) : layout_(layout) {}

  double All() const { return Over(kEach, kEach, kEach); }
  double Group(size_t g) const { return Over(g, kEach, kEach); }
  double Level(size_t l) const { return Over(kEach, l, kEach); }
  double GroupLevel(size_t g, size_t l) const { return Over(g, l, kEach); }
  double Seed(size_t g, size_t s) const { return Over(g, kEach, s); }

 private:
  static constexpr size_t kEach = SIZE_MAX;

  double Over(size_t group, size_t level, size_t seed) const {
    double sum = 0, count = 0;
    const auto is_of = [](size_t fixed, size_t i) { return fixed == kEach || fixed == i; };
    for (size_t g = 0; g < layout_.groups; ++g) {
      for (size_t l = 0; l < layout_.levels; ++l) {
        for (size_t s = 0; s < layout_.seeds; ++s) {
          if (!is_of(group, g) || !is_of(level, l) || !is_of(seed, s)) continue;
          sum += layout_.At(g, l, s);
          ++count;
        }
      }
    }
    return sum / count;
  }

  const BalancedLayout& layout_;
};

// Sums of squared effects over all values, and their degrees of freedom.
MeanSquares MeanSquaresOf(const BalancedLayout& layout) {
  const LayoutMeans mean(layout);
  const double all = mean.All();
  std::array<double, kSources> sums{};
  const auto add = [&](Source source, double effect) { sums[source] += effect * effect; };
  for (size_t g = 0; g < layout.groups; ++g) {
    for (size_t l = 0; l < layout.levels; ++l) {
      const double of_group = mean.Group(g), of_level = mean.Level(l),
                   of_both = mean.GroupLevel(g, l);
      for (size_t s = 0; s < layout.seeds; ++s) {
        const double of_seed = mean.Seed(g, s);
        add(kGroup, of_group - all);
        add(kLevel, of_level - all);
        add(kGroupLevel, of_both - of_group - of_level + all);
        add(kSeed, of_seed - of_group);
        add(kRest, layout.At(g, l, s) - of_both - of_seed + of_group);
      }
    }
  }
  const size_t g = layout.groups - 1, l = layout.levels - 1, s = layout.seeds - 1;
  const std::array<size_t, kSources> freedom = {g, l, g * l, layout.groups * s,
                                                layout.groups * l * s};
  MeanSquares squares;
  for (size_t i = 0; i < kSources; ++i) {
    if (freedom[i] > 0) squares[i] = {sums[i] / static_cast<double>(freedom[i]), freedom[i]};
  }
  return squares;
}

using Variances = std::array<double, kSources>;

// What of the expected mean squares is left for each: Expected(kLevel) = rest + seeds group_level +
// groups seeds level, and so on. May be negative.
Variances VariancesFrom(const MeanSquares& of, const BalancedLayout& layout) {
  const auto groups = static_cast<double>(layout.groups);
  const auto levels = static_cast<double>(layout.levels);
  const auto seeds = static_cast<double>(layout.seeds);
  const MeanSquare& beside_level = of[kGroupLevel].freedom > 0 ? of[kGroupLevel] : of[kRest];
  Variances variances{};
  variances[kRest] = of[kRest].value;
  variances[kSeed] = (of[kSeed].value - of[kRest].value) / levels;
  variances[kGroupLevel] = (of[kGroupLevel].value - of[kRest].value) / seeds;
  variances[kLevel] = (of[kLevel].value - beside_level.value) / (groups * seeds);
  variances[kGroup] =
      (of[kGroup].value - of[kSeed].value - of[kGroupLevel].value + of[kRest].value) /
      (levels * seeds);
  return variances;
}

double DrawChiSquared(size_t freedom, Rng& rng) {
  double sum = 0;
  for (size_t i = 0; i < freedom; ++i) {
    const double normal = rng.Normal();
    sum += normal * normal;
  }
  return sum;
}

// [source][draw]
std::array<std::vector<double>, kSources> DrawVariances(const MeanSquares& squares,
                                                        const BalancedLayout& layout,
                                                        uint64_t seed) {
  std::array<std::vector<double>, kSources> draws;
  Rng rng(seed);
  for (size_t draw = 0; draw < kResamples; ++draw) {
    MeanSquares drawn = squares;
    for (MeanSquare& square : drawn) {
      if (square.freedom > 0)
        square.value *= static_cast<double>(square.freedom) / DrawChiSquared(square.freedom, rng);
    }
    const Variances variances = VariancesFrom(drawn, layout);
    for (size_t i = 0; i < kSources; ++i) draws[i].push_back(std::max(0.0, variances[i]));
  }
  return draws;
}

}  // namespace

VarianceComponents SplitVariance(const BalancedLayout& layout, uint64_t seed) {
  QR_CHECK(layout.groups > 0 && layout.levels > 0 && layout.seeds > 0);
  QR_CHECK_EQ(layout.values.size(), layout.groups * layout.levels * layout.seeds);
  const MeanSquares squares = MeanSquaresOf(layout);
  const Variances variances = VariancesFrom(squares, layout);
  auto draws = DrawVariances(squares, layout, seed);
  VarianceComponents components{.mean = LayoutMeans(layout).All()};
  const std::array<std::optional<VarianceComponent>*, kSources> into = {
      &components.group, &components.level, &components.group_level, &components.seed,
      &components.rest};
  for (size_t i = 0; i < kSources; ++i) {
    if (squares[i].freedom == 0) continue;
    *into[i] = {std::max(0.0, variances[i]), Quantile(draws[i], 0.025), Quantile(draws[i], 0.975),
                squares[i].freedom};
  }
  return components;
}

}  // namespace quantref
