#include "eval/stats.h"

#include <algorithm>
#include <cmath>

#include "harness/base/check.h"
#include "harness/base/rng.h"

namespace quantref {
namespace {

struct RatioEstimate {
  double mean = 0, standard_error = 0;
};

// The ratio of sums over the blocks that `pick(i)` chooses, i in [0, n), and its linearised
// standard error sqrt(n / (n - 1) * sum_i (sum_i - mean * count_i)^2) / sum_i count_i (Cochran
// 1977, eq. 6.13 without the finite population correction).
template <typename Pick>
RatioEstimate EstimateRatio(size_t n, const Pick& pick) {
  double sum = 0, count = 0, sum_squares = 0, cross = 0, count_squares = 0;
  for (size_t i = 0; i < n; ++i) {
    const BlockSum& block = pick(i);
    sum += block.sum;
    count += block.count;
    sum_squares += block.sum * block.sum;
    cross += block.sum * block.count;
    count_squares += block.count * block.count;
  }
  const double mean = sum / count;
  const double residual = sum_squares - 2 * mean * cross + mean * mean * count_squares;
  const double blocks = static_cast<double>(n);
  return {mean, std::sqrt(std::max(0.0, residual) * blocks / (blocks - 1)) / count};
}

}  // namespace

double BlockMean(std::span<const BlockSum> blocks) {
  double sum = 0, count = 0;
  for (const BlockSum& block : blocks) {
    sum += block.sum;
    count += block.count;
  }
  return sum / count;
}

std::optional<Interval> BootstrapMean(std::span<const BlockSum> blocks, uint64_t seed) {
  const size_t n = blocks.size();
  if (n < kMinBlocks) return std::nullopt;
  // Centred blocks: their true mean is 0, and rounding stays small where all sums are nearly alike.
  const double centre = BlockMean(blocks);
  std::vector<BlockSum> centred(blocks.begin(), blocks.end());
  for (BlockSum& block : centred) block.sum -= centre * block.count;
  const RatioEstimate whole =
      EstimateRatio(n, [&](size_t i) -> const BlockSum& { return centred[i]; });
  Interval interval{centre, centre, centre, whole.standard_error};
  if (whole.standard_error == 0) return interval;  // all blocks agree exactly

  Rng rng(seed);
  std::vector<double> studentized;
  studentized.reserve(kResamples);
  for (size_t resample = 0; resample < kResamples; ++resample) {
    const RatioEstimate drawn =
        EstimateRatio(n, [&](size_t) -> const BlockSum& { return centred[rng.Below(n)]; });
    // A draw of one block n times has no spread; it says nothing and is as rare as n^(1-n).
    if (drawn.standard_error > 0)
      studentized.push_back((drawn.mean - whole.mean) / drawn.standard_error);
  }
  QR_CHECK(!studentized.empty());
  interval.low = centre - Quantile(studentized, 0.975) * whole.standard_error;
  interval.high = centre - Quantile(studentized, 0.025) * whole.standard_error;
  return interval;
}

double IndependentStandardError(double sum, double sum_of_squares, double count) {
  QR_CHECK(count > 1);
  const double mean = sum / count;
  const double variance = std::max(0.0, (sum_of_squares - count * mean * mean) / (count - 1));
  return std::sqrt(variance / count);
}

double MinimumDetectable(double standard_error) {
  constexpr double kTwoSided5Percent = 1.959963984540054, kPower80Percent = 0.8416212335729143;
  return (kTwoSided5Percent + kPower80Percent) * standard_error;
}

double Quantile(std::vector<double>& values, double q) {
  QR_CHECK(!values.empty());
  QR_CHECK(q >= 0 && q <= 1);
  const double position = q * static_cast<double>(values.size() - 1);
  const size_t below = static_cast<size_t>(position);
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(below);
  std::nth_element(values.begin(), at, values.end());
  if (below + 1 == values.size()) return *at;
  const double above = *std::min_element(at + 1, values.end());
  return *at + (position - static_cast<double>(below)) * (above - *at);
}

Spread MeanAndDeviation(std::span<const double> values) {
  QR_CHECK(!values.empty());
  Spread spread;
  for (double value : values) spread.mean += value / static_cast<double>(values.size());
  if (values.size() == 1) return spread;
  double squares = 0;
  for (double value : values) squares += (value - spread.mean) * (value - spread.mean);
  spread.deviation = std::sqrt(squares / static_cast<double>(values.size() - 1));
  return spread;
}

}  // namespace quantref
