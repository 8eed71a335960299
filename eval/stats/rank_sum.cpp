#include "eval/stats/rank_sum.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "harness/base/check.h"

namespace quantref {
namespace {

// P(U <= u) for every u in [0, n m] where both come from one distribution: of all orders of n and m
// values, count those with U pairs in which the second is below the first. Adding the largest value
// of all either adds no pair (it is of the second) or m (of the first):
//   count(n, m, u) = count(n, m - 1, u) + count(n - 1, m, u - m).
std::vector<double> Cumulative(size_t n, size_t m) {
  std::vector<std::vector<double>> counts(m + 1);  // of count(i, j, .) for the current i
  for (size_t j = 0; j <= m; ++j) counts[j].assign(n * m + 1, 0), counts[j][0] = 1;
  for (size_t i = 1; i <= n; ++i) {
    for (size_t j = 1; j <= m; ++j) {
      for (size_t u = n * m + 1; u-- > 0;)
        counts[j][u] = counts[j - 1][u] + (u >= j ? counts[j][u - j] : 0);
    }
  }
  double all = 0, sum = 0;
  for (const double count : counts[m]) all += count;
  std::vector<double> cumulative;
  for (const double count : counts[m]) cumulative.push_back((sum += count) / all);
  return cumulative;
}

// log(b / a) of every pair, in order.
std::vector<double> LogRatios(std::span<const double> a, std::span<const double> b) {
  std::vector<double> ratios;
  for (const double x : a) {
    for (const double y : b) ratios.push_back(std::log(y / x));
  }
  std::sort(ratios.begin(), ratios.end());
  return ratios;
}

// As many as the exact test takes, from the whole of the run.
std::vector<double> Thinned(std::span<const double> samples) {
  std::vector<double> some;
  const size_t count = std::min(samples.size(), kMostRanked);
  for (size_t i = 0; i < count; ++i) some.push_back(samples[i * samples.size() / count]);
  return some;
}

}  // namespace

RatioOfSamples CompareSamples(std::span<const double> all_a, std::span<const double> all_b) {
  QR_CHECK(!all_a.empty() && !all_b.empty());
  const std::vector<double> a = Thinned(all_a), b = Thinned(all_b);
  const std::vector<double> ratios = LogRatios(a, b), cumulative = Cumulative(a.size(), b.size());
  double below = 0;  // pairs in which b is the smaller
  for (const double ratio : ratios) below += ratio < 0 ? 1 : ratio == 0 ? 0.5 : 0;
  const double extreme = std::min(below, static_cast<double>(ratios.size()) - below);
  // Half a pair is rounded up, towards no difference.
  const double tail = cumulative[static_cast<size_t>(std::ceil(extreme))];
  std::vector<double> middle = ratios;
  RatioOfSamples result{std::min(1.0, 2 * tail), std::exp(Quantile(middle, 0.5)), std::nullopt};

  // The ratios that the test does not reject: those with more than `rejected` pairs on each side.
  const auto first_kept =
      std::upper_bound(cumulative.begin(), cumulative.end(), 0.025) - cumulative.begin();
  if (first_kept > 0) {
    const auto rejected = static_cast<size_t>(first_kept) - 1;
    result.interval = Interval{.mean = result.ratio,
                               .low = std::exp(ratios[rejected]),
                               .high = std::exp(ratios[ratios.size() - 1 - rejected])};
  }
  return result;
}

}  // namespace quantref
