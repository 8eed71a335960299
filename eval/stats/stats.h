#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace quantref {

// Statistics of paired measurements, pure functions of the samples. The unit of resampling is a
// block: the scored positions of one window, whose errors are correlated because they share a text.

// A block's sum of some quantity over its positions, and their number.
struct BlockSum {
  double sum = 0;
  double count = 0;
};

// A window's sum in a minus its sum in b, with its scored positions: what a paired difference is
// estimated from. All of one length.
std::vector<BlockSum> DifferenceBlocks(std::span<const double> a, std::span<const double> b,
                                       std::span<const double> scored);

// An estimate with its two-sided 95 % confidence interval and standard error.
struct Interval {
  double mean = 0;
  double low = 0, high = 0;
  double standard_error = 0;  // from the spread between blocks
  bool Contains(double value) const { return low <= value && value <= high; }
  double HalfWidth() const { return (high - low) / 2; }
};

// Mean of the quantity per position with its interval over blocks. From kBootstrapBlocks on that is
// the bootstrap-t (Efron and Tibshirani 1993, section 12.5): blocks are drawn with replacement, and
// each draw's mean is studentized by its own standard error, which keeps the coverage near 95 % for
// a few dozen blocks of unequal size, where the plain percentile interval is too short. Of fewer
// blocks many draws hold hardly more than one of them: their standard errors are next to nothing,
// and whether the 2.5 % quantile falls among them is the draw's luck. These have Student's t with
// one degree of freedom less than blocks. Same blocks, same seed, same interval.
// Nothing for fewer than kMinBlocks blocks: no honest interval exists. plain_bootstrap.h has the
// definition without what makes this fast.
inline constexpr size_t kMinBlocks = 8;
inline constexpr size_t kBootstrapBlocks = 16;
inline constexpr size_t kResamples = 4000;
std::optional<Interval> MeanInterval(std::span<const BlockSum> blocks, uint64_t seed = 0);

// The mean alone.
double BlockMean(std::span<const BlockSum> blocks);

// The standard error that treats every position as independent: sqrt(variance / n), from the sum,
// the sum of squares and the number. What most tools print; too small for text.
double IndependentStandardError(double sum, double sum_of_squares, double count);

// The smallest true difference that a two-sided 5 % test with this standard error finds with 80 %
// power: (1.960 + 0.842) standard errors.
double MinimumDetectable(double standard_error);

// The value below which a share q of the values lies, interpolated between order statistics (R's
// type 7). Reorders the values. values not empty, 0 <= q <= 1.
double Quantile(std::vector<double>& values, double q);

// Mean and sample standard deviation of a handful of repetitions.
struct Spread {
  double mean = 0, deviation = 0;  // deviation 0 for one value
};
Spread MeanAndDeviation(std::span<const double> values);

}  // namespace quantref
