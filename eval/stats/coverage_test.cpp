#include "eval/stats/coverage.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "harness/base/rng.h"

namespace quantref {
namespace {

constexpr size_t kTextWindows = 64, kWindowPositions = 100;

// Windows whose positions' values are independent but for what a window's share (`shared`
// deviations) and for a drift of so many deviations from the text's first window to its last.
struct MadeUpText {
  std::vector<BlockSum> blocks;
  double token_error = 0;
};

MadeUpText MakeText(double shared, double drift, Rng& rng) {
  MadeUpText text;
  double sum = 0, squares = 0;
  for (size_t w = 0; w < kTextWindows; ++w) {
    const double own = shared * rng.Normal() + drift * static_cast<double>(w) / kTextWindows;
    BlockSum block;
    for (size_t i = 0; i < kWindowPositions; ++i) {
      const double value = own + rng.Normal();
      block.sum += value;
      block.count += 1;
      squares += value * value;
    }
    sum += block.sum;
    text.blocks.push_back(block);
  }
  text.token_error = IndependentStandardError(sum, squares, kTextWindows * kWindowPositions);
  return text;
}

// Over texts of one kind.
Coverage MeanCoverage(double shared, double drift) {
  constexpr size_t kTexts = 40, kDraws = 100;
  Rng rng(3);
  Coverage mean;
  for (size_t t = 0; t < kTexts; ++t) {
    const MadeUpText text = MakeText(shared, drift, rng);
    const Coverage one = HeldOutCoverage(text.blocks, kMinBlocks, text.token_error, kDraws, t);
    mean.windows += one.windows / kTexts;
    mean.not_widened += one.not_widened / kTexts;
    mean.tokens += one.tokens / kTexts;
    mean.neighbours += one.neighbours / kTexts;
  }
  return mean;
}

TEST_CASE("coverage: independent positions are held by windows, neighbours and tokens alike") {
  const Coverage coverage = MeanCoverage(0, 0);
  for (const double share : {coverage.windows, coverage.tokens, coverage.neighbours})
    CHECK(share == Approx(0.95).margin(0.02));
  CHECK(coverage.not_widened < coverage.windows);
}

TEST_CASE("coverage: what windows share is the intervals' over windows, and not those' by token") {
  const Coverage coverage = MeanCoverage(0.5, 0);
  CHECK(coverage.windows == Approx(0.95).margin(0.02));
  CHECK(coverage.tokens < 0.6);
}

TEST_CASE("coverage: of a text that changes on its way, neighbours do not stand for the rest") {
  const Coverage coverage = MeanCoverage(0.2, 2);
  CHECK(coverage.windows == Approx(0.95).margin(0.03));
  CHECK(coverage.neighbours < 0.4);
}

TEST_CASE("coverage: runs of neighbours by hand, and windows that are not alike in size") {
  Rng rng(8);
  std::vector<BlockSum> blocks;
  for (size_t w = 0; w < 20; ++w) {
    const double count = 50 + static_cast<double>(rng.Below(100));
    blocks.push_back({count * (1 + 0.1 * rng.Normal()), count});
  }
  double held = 0;
  for (size_t first = 0; first + 8 <= 20; ++first) {
    BlockSum own, rest;
    for (size_t w = 0; w < 20; ++w) {
      BlockSum& side = w >= first && w < first + 8 ? own : rest;
      side.sum += blocks[w].sum;
      side.count += blocks[w].count;
    }
    const Interval interval = *MeanInterval(std::span(blocks).subspan(first, 8));
    const double factor = std::sqrt(1 + own.count / rest.count);
    const double away = rest.sum / rest.count - interval.mean;
    held += std::abs(away) <= factor * interval.HalfWidth() ? 1 : 0;
  }
  const Coverage coverage = HeldOutCoverage(blocks, 8, 0.01, 50);
  CHECK(coverage.neighbours == Approx(held / 13));
  CHECK(coverage.windows == HeldOutCoverage(blocks, 8, 0.01, 50).windows);
  CHECK(HeldOutCoverage(blocks, 8, 0.0, 50).tokens == 0);
}

}  // namespace
}  // namespace quantref
