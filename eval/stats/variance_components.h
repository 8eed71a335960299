#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace quantref {

// Results of a balanced experiment: each of several groups (corpora) at each of several levels
// (amounts), each measured with the same number of seeds. A seed is drawn within its group, and the
// same at all levels of it: what is drawn for a level holds what is drawn for a lower one.
struct BalancedLayout {
  size_t groups = 1, levels = 1, seeds = 1;
  std::span<const double> values{};  // [group][level][seed], finite

  double At(size_t group, size_t level, size_t seed) const {
    return values[(group * levels + level) * seeds + seed];
  }
};

// A part of the variance of such results. `variance` is the estimate of the analysis of variance,
// from expected mean squares (Searle, Casella and McCulloch 1992, chapter 4), 0 where that is
// negative. The 95 % interval is Weerahandi's generalized one (1993): each mean square times its
// degrees of freedom over a draw of chi-squared, kResamples draws of all of them, ends below 0 are
// 0. It takes effects as normal; of few levels it is wide, as it must be.
struct VarianceComponent {
  double variance = 0, low = 0, high = 0;
  size_t freedom = 0;  // degrees of the mean square that it is estimated from
};

// y = mean + group + level + group x level + seed (within its group) + rest, the rest being what a
// seed does at one level that it does not at others. Groups and levels count as drawn, too: theirs
// is the variance between those that were tried. Nothing where there are not two or more of what
// it is the spread of; without several levels, a seed's variance is all that seeds do.
struct VarianceComponents {
  double mean = 0;
  std::optional<VarianceComponent> group{}, level{}, group_level{}, seed{}, rest{};
};

// All numbers of the layout 1 or more, as many values as they multiply to. Same values, same seed,
// same components.
VarianceComponents SplitVariance(const BalancedLayout& layout, uint64_t seed = 0);

}  // namespace quantref
