#pragma once

#include <optional>
#include <span>

#include "eval/stats/stats.h"

namespace quantref {

// Two sets of independent measurements of a positive quantity, of which nothing is known but that
// one's distribution is the other's times some factor.
struct RatioOfSamples {
  double p;      // two-sided, of Mann and Whitney's test (1947) that the factor is 1
  double ratio;  // the factor, b over a: Hodges and Lehmann's estimate (1963)
  // Its 95 % interval by inversion of the same test: the smallest level that the numbers of samples
  // allow up to 5 %. Nothing where they allow none (fewer than 4 and 4).
  std::optional<Interval> interval;  // standard_error is 0: it has none
};

// The distribution of the test's statistic is exact; ties, which clocks hardly give, count one
// half. Samples > 0, at least 1 on each side. The exact test takes up to kMostRanked of a side; of
// more as many count, evenly from first to last.
inline constexpr size_t kMostRanked = 64;
RatioOfSamples CompareSamples(std::span<const double> a, std::span<const double> b);

}  // namespace quantref
