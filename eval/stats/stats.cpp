#include "eval/stats/stats.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "harness/base/check.h"
#include "harness/base/rng.h"

namespace quantref {
namespace {

struct RatioEstimate {
  double mean = 0, standard_error = 0;
};

// What is added up over the blocks of a sample: sum, count, and the products of the two. A register
// holds two lanes; the sixth is empty.
struct BlockTerms {
  using Pair = double __attribute__((vector_size(16)));
  Pair sum_count{}, squares{}, cross{};

  BlockTerms() = default;
  explicit BlockTerms(const BlockSum& block)
      : sum_count{block.sum, block.count},
        squares{block.sum * block.sum, block.count * block.count},
        cross{block.sum * block.count, 0} {}

  void Add(const BlockTerms& other) {
    sum_count += other.sum_count;
    squares += other.squares;
    cross += other.cross;
  }
};

// The ratio of sums over n blocks and its linearised standard error
// sqrt(n / (n - 1) * sum_i (sum_i - mean * count_i)^2) / sum_i count_i (Cochran 1977, eq. 6.13
// without the finite population correction).
RatioEstimate EstimateRatio(const BlockTerms& total, size_t n) {
  const double mean = total.sum_count[0] / total.sum_count[1];
  const double residual =
      total.squares[0] - 2 * mean * total.cross[0] + mean * mean * total.squares[1];
  const double blocks = static_cast<double>(n);
  return {mean, std::sqrt(std::max(0.0, residual) * blocks / (blocks - 1)) / total.sum_count[1]};
}

// What Rng(seed).Below(n) gives, one resample after the other. Drawing is most of a bootstrap's
// work, and many quantities are estimated over the same windows, so each thread keeps its last
// draws where they are not too many.
class Draws {
 public:
  Draws(size_t n, uint64_t seed) : n_(n), rng_(seed) {
    if (n > kMostKept) return;
    thread_local Kept kept;
    if (kept.n != n || kept.seed != seed) {
      kept = {n, seed, {}};
      Draw(kResamples, kept.draws);
    }
    kept_ = kept.draws.data();
  }

  // The next `resamples` times n indices, valid until the next call.
  const uint32_t* Next(size_t resamples) {
    if (kept_ == nullptr) {
      Draw(resamples, drawn_);
      return drawn_.data();
    }
    kept_ += resamples * n_;
    return kept_ - resamples * n_;
  }

 private:
  struct Kept {
    size_t n = 0;
    uint64_t seed = 0;
    std::vector<uint32_t> draws;
  };
  static constexpr size_t kMostKept = 1024;  // blocks: 16 MB of draws

  void Draw(size_t resamples, std::vector<uint32_t>& draws) {
    draws.resize(resamples * n_);
    for (uint32_t& draw : draws) draw = static_cast<uint32_t>(rng_.Below(n_));
  }

  size_t n_;
  Rng rng_;
  const uint32_t* kept_ = nullptr;
  std::vector<uint32_t> drawn_;
};

// The t statistics of all resamples of centred blocks.
std::vector<double> StudentizedDraws(std::span<const BlockTerms> blocks, double mean,
                                     uint64_t seed) {
  // Sums of one resample wait for each other; those of several, kept in registers, do not.
  constexpr size_t kAbreast = 4;
  static_assert(kResamples % kAbreast == 0);
  const size_t n = blocks.size();
  Draws draws(n, seed);
  std::vector<double> studentized;
  studentized.reserve(kResamples);
  for (size_t resample = 0; resample < kResamples; resample += kAbreast) {
    const uint32_t* drawn = draws.Next(kAbreast);
    BlockTerms totals[kAbreast];
    for (size_t i = 0; i < n; ++i) {
#pragma GCC unroll 4
      for (size_t r = 0; r < kAbreast; ++r) totals[r].Add(blocks[drawn[r * n + i]]);
    }
    for (const BlockTerms& total : totals) {
      const RatioEstimate estimate = EstimateRatio(total, n);
      // A draw of one block n times has no spread; it says nothing and is as rare as n^(1-n).
      if (estimate.standard_error > 0)
        studentized.push_back((estimate.mean - mean) / estimate.standard_error);
    }
  }
  return studentized;
}

// What 97.5 % of Student's t with n - 1 degrees of freedom lies below, for kMinBlocks blocks and
// more.
double StudentQuantile(size_t n) {
  constexpr double kQuantiles[] = {2.364624251592785, 2.306004135204167, 2.262157162798205,
                                   2.228138851986274, 2.200985160091640, 2.178812829667228,
                                   2.160368656462792, 2.144786687917804};
  static_assert(kMinBlocks + std::size(kQuantiles) == kBootstrapBlocks);
  QR_CHECK(n >= kMinBlocks && n < kBootstrapBlocks);
  return kQuantiles[n - kMinBlocks];
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

std::optional<Interval> MeanInterval(std::span<const BlockSum> blocks, uint64_t seed) {
  const size_t n = blocks.size();
  if (n < kMinBlocks) return std::nullopt;
  // Centred blocks: their true mean is 0, and rounding stays small where all sums are nearly alike.
  const double centre = BlockMean(blocks);
  std::vector<BlockTerms> centred;
  centred.reserve(n);
  for (const BlockSum& block : blocks)
    centred.emplace_back(BlockSum{block.sum - centre * block.count, block.count});
  BlockTerms total;
  for (const BlockTerms& block : centred) total.Add(block);
  const RatioEstimate whole = EstimateRatio(total, n);
  Interval interval{centre, centre, centre, whole.standard_error};
  if (whole.standard_error == 0) return interval;  // all blocks agree exactly

  if (n < kBootstrapBlocks) {
    const double half = StudentQuantile(n) * whole.standard_error;
    interval.low = centre - half;
    interval.high = centre + half;
    return interval;
  }
  std::vector<double> studentized = StudentizedDraws(centred, whole.mean, seed);
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

std::vector<BlockSum> DifferenceBlocks(std::span<const double> a, std::span<const double> b,
                                       std::span<const double> scored) {
  QR_CHECK_EQ(a.size(), b.size());
  QR_CHECK_EQ(a.size(), scored.size());
  std::vector<BlockSum> blocks;
  for (size_t w = 0; w < a.size(); ++w) blocks.push_back({a[w] - b[w], scored[w]});
  return blocks;
}

}  // namespace quantref
