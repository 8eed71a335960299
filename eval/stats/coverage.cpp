#include "eval/stats/coverage.h"

#include <cmath>
#include <numeric>
#include <vector>

#include "harness/base/check.h"
#include "harness/base/rng.h"

namespace quantref {
namespace {

constexpr double kNormal95 = 1.959963984540054;

BlockSum TotalOf(std::span<const BlockSum> blocks) {
  BlockSum total;
  for (const BlockSum& block : blocks) {
    total.sum += block.sum;
    total.count += block.count;
  }
  return total;
}

// Some of the windows beside the rest of them.
class HeldOut {
 public:
  HeldOut(std::span<const BlockSum> all, std::span<const size_t> chosen) : total_(TotalOf(all)) {
    for (const size_t i : chosen) part_.push_back(all[i]);
    own_ = TotalOf(part_);
    rest_ = (total_.sum - own_.sum) / (total_.count - own_.count);
  }

  Interval OfWindows() const { return *MeanInterval(part_); }

  // token_error: of all positions.
  Interval OfTokens(double token_error) const {
    const double error = token_error * std::sqrt(total_.count / own_.count);
    const double mean = own_.sum / own_.count;
    return {mean, mean - kNormal95 * error, mean + kNormal95 * error, error};
  }

  Interval Widened(const Interval& interval) const {
    const double factor = std::sqrt(1 + own_.count / (total_.count - own_.count));
    return {interval.mean, interval.mean + factor * (interval.low - interval.mean),
            interval.mean + factor * (interval.high - interval.mean),
            factor * interval.standard_error};
  }

  bool HoldsRest(const Interval& interval) const { return interval.Contains(rest_); }

 private:
  std::vector<BlockSum> part_;
  BlockSum total_, own_;
  double rest_ = 0;
};

}  // namespace

Coverage HeldOutCoverage(std::span<const BlockSum> blocks, size_t windows, double token_error,
                         size_t draws, uint64_t seed) {
  QR_CHECK(windows >= kMinBlocks && 2 * windows <= blocks.size());
  QR_CHECK(draws > 0);
  std::vector<size_t> order(blocks.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const std::vector<size_t> in_text = order;
  Rng rng(seed);
  size_t held = 0, bare = 0, by_tokens = 0, near = 0;
  for (size_t draw = 0; draw < draws; ++draw) {
    Shuffle(std::span(order), rng);
    const HeldOut part(blocks, std::span(order).first(windows));
    const Interval interval = part.OfWindows();
    held += part.HoldsRest(part.Widened(interval));
    bare += part.HoldsRest(interval);
    by_tokens += part.HoldsRest(part.Widened(part.OfTokens(token_error)));
  }
  // Runs that begin next to each other are nearly the same.
  const size_t step = windows / kMinBlocks;
  size_t runs = 0;
  for (size_t first = 0; first + windows <= blocks.size(); first += step, ++runs) {
    const HeldOut part(blocks, std::span(in_text).subspan(first, windows));
    near += part.HoldsRest(part.Widened(part.OfWindows()));
  }
  const auto share = [](size_t part, size_t all) {
    return static_cast<double>(part) / static_cast<double>(all);
  };
  return {share(held, draws), share(bare, draws), share(by_tokens, draws), share(near, runs)};
}

}  // namespace quantref
