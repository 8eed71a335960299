#include "eval/stats/plain_bootstrap.h"

#include <cmath>
#include <vector>

#include "harness/base/rng.h"

namespace quantref {
namespace {

struct MeanAndError {
  double mean, error;
};

// The ratio of sums, and its standard error from the spread of the blocks (Cochran 1977, eq. 6.13).
MeanAndError RatioOf(std::span<const BlockSum> blocks) {
  const double n = static_cast<double>(blocks.size());
  double count = 0, squares = 0;
  for (const BlockSum& block : blocks) count += block.count;
  const double mean = BlockMean(blocks);
  for (const BlockSum& block : blocks) squares += std::pow(block.sum - mean * block.count, 2);
  return {mean, std::sqrt(n / (n - 1) * squares) / count};
}

}  // namespace

// Efron and Tibshirani 1993, section 12.5.
Interval PlainMeanInterval(std::span<const BlockSum> blocks, uint64_t seed) {
  const auto [mean, error] = RatioOf(blocks);
  Rng rng(seed);
  std::vector<double> studentized;
  for (size_t resample = 0; resample < kResamples; ++resample) {
    std::vector<BlockSum> drawn;
    for (size_t i = 0; i < blocks.size(); ++i) drawn.push_back(blocks[rng.Below(blocks.size())]);
    const auto [drawn_mean, drawn_error] = RatioOf(drawn);
    studentized.push_back((drawn_mean - mean) / drawn_error);
  }
  return {.mean = mean,
          .low = mean - Quantile(studentized, 0.975) * error,
          .high = mean - Quantile(studentized, 0.025) * error,
          .standard_error = error};
}

}  // namespace quantref
