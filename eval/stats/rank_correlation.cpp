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

// rho of samples of two quantities' places within groups, drawn by whole blocks.
class PlacedRanks {
 public:
  PlacedRanks(std::span<const double> a, std::span<const double> b, std::span<const size_t> groups,
              std::span<const size_t> blocks)
      : pairs_(a.size()), blocks_(NumbersOf(blocks)) {
    std::map<size_t, std::vector<size_t>> members;
    for (size_t i = 0; i < groups.size(); ++i) members[groups[i]].push_back(i);
    for (const auto& [group, own] : members) {
      std::vector<double> own_a, own_b;
      for (const size_t i : own) {
        own_a.push_back(a[i]);
        own_b.push_back(b[i]);
      }
      groups_.push_back({own, LevelsOf(own_a), LevelsOf(own_b)});
    }
  }

  size_t groups() const { return groups_.size(); }
  size_t blocks() const { return *std::max_element(blocks_.begin(), blocks_.end()) + 1; }

  // Of each block so many times; nothing where all of one side are equal.
  std::optional<double> Rho(std::span<const size_t> times) {
    std::vector<double> places_a(pairs_), places_b(pairs_);
    std::vector<size_t> of_pairs;
    for (const size_t block : blocks_) of_pairs.push_back(times[block]);
    for (const Group& group : groups_) {
      PutPlaces(group, group.a, of_pairs, places_a);
      PutPlaces(group, group.b, of_pairs, places_b);
    }
    return PairedRanks(places_a, places_b).Rho(of_pairs);
  }

 private:
  struct Group {
    std::vector<size_t> members;
    Levels a, b;
  };

  // By how many different ones are less.
  static std::vector<size_t> NumbersOf(std::span<const size_t> names) {
    std::map<size_t, size_t> numbers;
    for (const size_t name : names) numbers[name] = 0;
    size_t next = 0;
    for (auto& [name, number] : numbers) number = next++;
    std::vector<size_t> of;
    for (const size_t name : names) of.push_back(numbers[name]);
    return of;
  }

  void PutPlaces(const Group& group, const Levels& levels, std::span<const size_t> of_pairs,
                 std::vector<double>& places) {
    std::vector<size_t> times;
    for (const size_t i : group.members) times.push_back(of_pairs[i]);
    const size_t count = std::accumulate(times.begin(), times.end(), size_t{0});
    if (count == 0) return;
    RankLevels(levels, times, ranks_);
    for (size_t k = 0; k < group.members.size(); ++k)
      places[group.members[k]] = (ranks_[levels.of[k]] - 0.5) / static_cast<double>(count);
  }

  const size_t pairs_;
  const std::vector<size_t> blocks_;
  std::vector<Group> groups_;
  std::vector<double> ranks_;
};

// `ranks`: PairedRanks of so many pairs, or PlacedRanks of so many blocks.
std::vector<double> ResampledRhos(auto& ranks, size_t units, uint64_t seed) {
  Rng rng(seed);
  std::vector<double> rhos;
  std::vector<size_t> times(units);
  for (size_t resample = 0; resample < kResamples; ++resample) {
    std::fill(times.begin(), times.end(), size_t{0});
    for (size_t i = 0; i < units; ++i) ++times[rng.Below(units)];
    if (const std::optional<double> rho = ranks.Rho(times)) rhos.push_back(*rho);
  }
  return rhos;
}

// How fast rho's spread changes with rho: the skewness of what leaving out a unit does, over 6
// (Efron and Tibshirani 1993, equation 14.15).
double Acceleration(auto& ranks, size_t units) {
  std::vector<double> without;
  std::vector<size_t> times(units, 1);
  for (size_t i = 0; i < units; ++i) {
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

std::optional<RankCorrelation> CorrelationOf(auto& ranks, size_t units, bool enough,
                                             uint64_t seed) {
  const std::optional<double> rho = ranks.Rho(std::vector<size_t>(units, 1));
  if (!rho) return std::nullopt;
  RankCorrelation result{*rho};
  if (!enough) return result;
  std::vector<double> rhos = ResampledRhos(ranks, units, seed);
  if (!rhos.empty())
    result.interval = BcaInterval(*rho, Acceleration(ranks, units), std::move(rhos));
  return result;
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
  return CorrelationOf(ranks, pairs, pairs >= kMinBlocks, seed);
}

std::optional<RankCorrelation> CorrelateWithin(std::span<const double> a, std::span<const double> b,
                                               std::span<const size_t> groups,
                                               std::span<const size_t> blocks, uint64_t seed) {
  QR_CHECK_EQ(a.size(), b.size());
  QR_CHECK_EQ(a.size(), groups.size());
  QR_CHECK_EQ(a.size(), blocks.size());
  if (a.size() < kLeastPairs) return std::nullopt;
  PlacedRanks ranks(a, b, groups, blocks);
  const bool enough = ranks.blocks() >= kMinBlocks && a.size() - ranks.groups() >= kMinBlocks;
  return CorrelationOf(ranks, ranks.blocks(), enough, seed);
}

}  // namespace quantref
