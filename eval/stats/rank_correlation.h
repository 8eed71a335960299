#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "eval/stats/stats.h"

namespace quantref {

// Each value's rank, 1 the least; equal ones share the mean of theirs.
std::vector<double> Ranks(std::span<const double> values);

// The same within groups: of a value that has rank r in a group of n, (r - 1/2) / n. One group a
// value.
std::vector<double> RanksWithin(std::span<const double> values, std::span<const size_t> groups);

// How far two quantities rise together, of pairs that are independent of each other.
struct RankCorrelation {
  double rho = 0;  // Spearman's (1904): Pearson's correlation of the ranks, in [-1, 1]
  // Its 95 % interval by the bootstrap over pairs, kResamples of them, ranked anew in each; ends
  // are BCa's, bias-corrected and accelerated (Efron and Tibshirani 1993, equation 14.10): rho is
  // skewed where it is large. mean is rho, standard_error the resamples' deviation. Nothing for
  // fewer than kMinBlocks pairs. Same pairs, same seed, same interval.
  std::optional<Interval> interval{};
};

// Nothing for fewer than 3 pairs, and where all values of one side are equal. Both of one length,
// values finite.
std::optional<RankCorrelation> CorrelateRanks(std::span<const double> a, std::span<const double> b,
                                              uint64_t seed = 0);

// How far two quantities rise together within groups: the same of RanksWithin's places, all groups
// pooled. Places among few say little by themselves, those among two stand twice, mirrored, and
// what holds for one value of a block may hold for its others: the interval is the bootstrap's over
// whole blocks, values placed anew in each draw. Nothing for fewer than kMinBlocks blocks, or where
// the pairs are not as many more than the groups. groups[i], blocks[i]: of pair i.
std::optional<RankCorrelation> CorrelateWithin(std::span<const double> a, std::span<const double> b,
                                               std::span<const size_t> groups,
                                               std::span<const size_t> blocks, uint64_t seed = 0);

}  // namespace quantref
