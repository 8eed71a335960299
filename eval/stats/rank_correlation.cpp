#include "eval/stats/rank_correlation.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "eval/stats/normal.h"
#include "harness/base/check.h"
#include "harness/base/rng.h"

namespace quantref {
namespace {

constexpr size_t kLeastPairs = 3;

// Values by their order alone: equal ones have one level, the least has level 0. Ranks of a
// resample are counted from these, without sorting it.
struct Levels {
  std::vector<size_t> of;  // each value's
  size_t count = 0;        // of levels
};

Levels LevelsOf(std::span<const double> values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t i, size_t j) { return values[i] < values[j]; });
  Levels levels{std::vector<size_t>(values.size()), 0};
  for (size_t i = 0; i < order.size(); ++i) {
    if (i == 0 || values[order[i]] != values[order[i - 1]]) ++levels.count;
    levels.of[order[i]] = levels.count - 1;
  }
  return levels;
}

// Of a sample that holds each value so many times: the rank of every level.
void RankLevels(const Levels& levels, std::span<const size_t> times, std::vector<double>& ranks) {
  ranks.assign(levels.count, 0);
  for (size_t i = 0; i < times.size(); ++i) ranks[levels.of[i]] += static_cast<double>(times[i]);
  double below = 0;
  for (double& rank : ranks) {
    const double alike = rank;
    rank = below + (alike + 1) / 2;
    below += alike;
  }
}

// rho of samples of two quantities.
class PairedRanks {
 public:
  PairedRanks(std::span<const double> a, std::span<const double> b)
      : a_(LevelsOf(a)), b_(LevelsOf(b)) {}

  // Of each pair so many times; nothing where all of one side are equal.
  std::optional<double> Rho(std::span<const size_t> times) {
    RankLevels(a_, times, ranks_a_);
    RankLevels(b_, times, ranks_b_);
    const size_t count = std::accumulate(times.begin(), times.end(), size_t{0});
    const double middle = (static_cast<double>(count) + 1) / 2;
    double squares_a = 0, squares_b = 0, products = 0;
    for (size_t i = 0; i < times.size(); ++i) {
      const double weight = static_cast<double>(times[i]);
      const double x = ranks_a_[a_.of[i]] - middle, y = ranks_b_[b_.of[i]] - middle;
      squares_a += weight * x * x;
      squares_b += weight * y * y;
      products += weight * x * y;
    }
    if (squares_a == 0 || squares_b == 0) return std::nullopt;
    return std::clamp(products / std::sqrt(squares_a * squares_b), -1.0, 1.0);
  }

 private:
  Levels a_, b_;
  std::vector<double> ranks_a_, ranks_b_;
};

std::vector<double> ResampledRhos(PairedRanks& ranks, size_t pairs, uint64_t seed) {
  Rng rng(seed);
  std::vector<double> rhos;
  std::vector<size_t> times(pairs);
  for (size_t resample = 0; resample < kResamples; ++resample) {
    std::fill(times.begin(), times.end(), size_t{0});
    for (size_t i = 0; i < pairs; ++i) ++times[rng.Below(pairs)];
    if (const std::optional<double> rho = ranks.Rho(times)) rhos.push_back(*rho);
  }
  return rhos;
}

// How fast rho's spread changes with rho: the skewness of what leaving out a pair does, over 6
// (Efron and Tibshirani 1993, equation 14.15).
double Acceleration(PairedRanks& ranks, size_t pairs) {
  std::vector<double> without;
  std::vector<size_t> times(pairs, 1);
  for (size_t i = 0; i < pairs; ++i) {
    times[i] = 0;
    if (const std::optional<double> rho = ranks.Rho(times)) without.push_back(*rho);
    times[i] = 1;
  }
  const double mean = std::accumulate(without.begin(), without.end(), 0.0) /
                      static_cast<double>(std::max<size_t>(without.size(), 1));
  double squares = 0, cubes = 0;
  for (const double rho : without) {
    squares += (mean - rho) * (mean - rho);
    cubes += (mean - rho) * (mean - rho) * (mean - rho);
  }
  return squares > 0 ? cubes / (6 * std::pow(squares, 1.5)) : 0;
}

Interval BcaInterval(double rho, double acceleration, std::vector<double> rhos) {
  const Spread spread = MeanAndDeviation(rhos);
  double below = 0;  // equal ones half
  for (const double drawn : rhos) below += drawn < rho ? 1 : drawn == rho ? 0.5 : 0;
  const double count = static_cast<double>(rhos.size());
  const double bias = NormalQuantile(std::clamp(below / count, 0.5 / count, 1 - 0.5 / count));
  const auto end = [&](double z) {
    const double shifted = bias + z, bent = 1 - acceleration * shifted;
    const double q = bent > 0 ? NormalBelow(bias + shifted / bent) : shifted > 0 ? 1 : 0;
    return Quantile(rhos, q);
  };
  constexpr double kTwoSided5Percent = 1.959963984540054;
  return {rho, end(-kTwoSided5Percent), end(kTwoSided5Percent), spread.deviation};
}

}  // namespace

std::vector<double> Ranks(std::span<const double> values) {
  const Levels levels = LevelsOf(values);
  std::vector<double> of_levels, ranks;
  RankLevels(levels, std::vector<size_t>(values.size(), 1), of_levels);
  for (const size_t level : levels.of) ranks.push_back(of_levels[level]);
  return ranks;
}

std::vector<double> RanksWithin(std::span<const double> values, std::span<const size_t> groups) {
  QR_CHECK_EQ(values.size(), groups.size());
  std::map<size_t, std::vector<size_t>> members;
  for (size_t i = 0; i < groups.size(); ++i) members[groups[i]].push_back(i);
  std::vector<double> result(values.size());
  for (const auto& [group, own] : members) {
    std::vector<double> of_group;
    for (const size_t i : own) of_group.push_back(values[i]);
    const std::vector<double> ranks = Ranks(of_group);
    for (size_t k = 0; k < own.size(); ++k)
      result[own[k]] = (ranks[k] - 0.5) / static_cast<double>(own.size());
  }
  return result;
}

std::optional<RankCorrelation> CorrelateRanks(std::span<const double> a, std::span<const double> b,
                                              uint64_t seed) {
  QR_CHECK_EQ(a.size(), b.size());
  const size_t pairs = a.size();
  if (pairs < kLeastPairs) return std::nullopt;
  PairedRanks ranks(a, b);
  const std::optional<double> rho = ranks.Rho(std::vector<size_t>(pairs, 1));
  if (!rho) return std::nullopt;
  RankCorrelation result{*rho};
  if (pairs < kMinBlocks) return result;
  std::vector<double> rhos = ResampledRhos(ranks, pairs, seed);
  if (!rhos.empty())
    result.interval = BcaInterval(*rho, Acceleration(ranks, pairs), std::move(rhos));
  return result;
}

}  // namespace quantref
