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

// A block with its products, which every draw of it adds up again.
struct BlockTerms {
  double sum, count, sum_square, cross, count_square;
  explicit BlockTerms(const BlockSum& block)
      : sum(block.sum),
        count(block.count),
        sum_square(block.sum * block.sum),
        cross(block.sum * block.count),
        count_square(block.count * block.count) {}
};

// The ratio of sums over the blocks that `pick(i)` chooses, i in [0, n), and its linearised
// standard error sqrt(n / (n - 1) * sum_i (sum_i - mean * count_i)^2) / sum_i count_i (Cochran
// 1977, eq. 6.13 without the finite population correction).
template <typename Pick>
RatioEstimate EstimateRatio(size_t n, const Pick& pick) {
  double sum = 0, count = 0, sum_squares = 0, cross = 0, count_squares = 0;
  for (size_t i = 0; i < n; ++i) {
    const BlockTerms& block = pick(i);
    sum += block.sum;
    count += block.count;
    sum_squares += block.sum_square;
    cross += block.cross;
    count_squares += block.count_square;
  }
  const double mean = sum / count;
  const double residual = sum_squares - 2 * mean * cross + mean * mean * count_squares;
  const double blocks = static_cast<double>(n);
  return {mean, std::sqrt(std::max(0.0, residual) * blocks / (blocks - 1)) / count};
}

// What Rng(seed).Below(n) gives for all resamples. Drawing is most of a bootstrap's work, and many
// quantities are estimated over the same windows, so each thread keeps its last draws.
const std::vector<uint32_t>& KeptDraws(size_t n, uint64_t seed) {
  struct Kept {
    size_t n = 0;
    uint64_t seed = 0;
    std::vector<uint32_t> draws;
  };
  thread_local Kept kept;
  if (kept.n != n || kept.seed != seed) {
    kept = {n, seed, {}};
    kept.draws.reserve(kResamples * n);
    Rng rng(seed);
    for (size_t i = 0; i < kResamples * n; ++i)
      kept.draws.push_back(static_cast<uint32_t>(rng.Below(n)));
  }
  return kept.draws;
}
constexpr size_t kMostKept = 1024;  // blocks: 16 MB of draws

// The t statistics of all resamples of centred blocks; draw() is the next block's index.
template <typename Draw>
std::vector<double> StudentizedDraws(std::span<const BlockTerms> blocks, double mean,
                                     const Draw& draw) {
  std::vector<double> studentized;
  studentized.reserve(kResamples);
  for (size_t resample = 0; resample < kResamples; ++resample) {
    const RatioEstimate drawn =
        EstimateRatio(blocks.size(), [&](size_t) -> const BlockTerms& { return blocks[draw()]; });
    // A draw of one block n times has no spread; it says nothing and is as rare as n^(1-n).
    if (drawn.standard_error > 0) studentized.push_back((drawn.mean - mean) / drawn.standard_error);
  }
  return studentized;
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
  std::vector<BlockTerms> centred;
  centred.reserve(n);
  for (const BlockSum& block : blocks)
    centred.emplace_back(BlockSum{block.sum - centre * block.count, block.count});
  const RatioEstimate whole =
      EstimateRatio(n, [&](size_t i) -> const BlockTerms& { return centred[i]; });
  Interval interval{centre, centre, centre, whole.standard_error};
  if (whole.standard_error == 0) return interval;  // all blocks agree exactly

  std::vector<double> studentized;
  if (n <= kMostKept) {
    const uint32_t* next = KeptDraws(n, seed).data();
    studentized = StudentizedDraws(centred, whole.mean, [&] { return *next++; });
  } else {
    Rng rng(seed);
    studentized = StudentizedDraws(centred, whole.mean, [&] { return rng.Below(n); });
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
