#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <vector>

#include "harness/base/half.h"
#include "harness/base/matrix.h"
#include "harness/base/rng.h"
#include "harness/quant/grid.h"
#include "harness/quant/quant_testing.h"

// What must hold for every rounded matrix, whatever its weights.

namespace quantref {
namespace {

using testing::kFewCols;
using testing::kFewGroup;
using testing::kFewRows;

// Normal weights of a random magnitude, some shifted to one side, some exactly 0.
Matrix<float> RandomWeights(Rng& rng) {
  Matrix<float> weights(kFewRows, kFewCols);
  const double magnitude = std::exp2(rng.Uniform() * 24 - 16);
  const double shift = rng.Below(2) == 0 ? 0 : 4 * (rng.Uniform() - 0.5);
  for (size_t r = 0; r < kFewRows; ++r) {
    for (size_t c = 0; c < kFewCols; ++c) {
      const double w = rng.Below(10) == 0 ? 0 : magnitude * (rng.Normal() + shift);
      weights(r, c) = static_cast<float>(w);
    }
  }
  return weights;
}

// One scale with the weights and codes that share it.
struct Block {
  Affine affine;
  int exponent = 0;
  std::vector<float> weights;
  std::vector<int> codes;
};

std::vector<Block> Blocks(const Matrix<float>& weights, const PackedMatrix& packed) {
  std::vector<Block> blocks(packed.scale_rows() * packed.scale_cols());
  std::vector<uint8_t> codes(kFewCols);
  for (size_t r = 0; r < kFewRows; ++r) {
    packed.GetCodes(r, codes);
    for (size_t c = 0; c < kFewCols; ++c) {
      const size_t scale_row = packed.scales().RowOf(r), scale_col = packed.scales().ColOf(c);
      Block& block = blocks[scale_row * packed.scale_cols() + scale_col];
      block.affine = packed.affine(scale_row, scale_col);
      block.exponent = packed.exponent();
      block.weights.push_back(weights(r, c));
      block.codes.push_back(codes[c]);
    }
  }
  return blocks;
}

template <typename Check>
void ForEachBlock(Check check) {
  Rng rng(20);
  for (int trial = 0; trial < 10; ++trial) {
    const Matrix<float> weights = RandomWeights(rng);
    for (const WeightScheme& scheme : testing::AllSchemes({2, 3, 4, 5, 6, 7, 8}, kFewGroup)) {
      INFO(SchemeName(scheme) << ", trial " << trial);
      for (const Block& block : Blocks(weights, RoundToNearest(weights.view(), scheme))) {
        check(scheme, block);
      }
    }
  }
}

// The scale before it is rounded to FP16, times the number of steps in the range.
double Extent(const WeightScheme& scheme, const Block& block) {
  const auto [lo, hi] = std::minmax_element(block.weights.begin(), block.weights.end());
  if (scheme.symmetric) return std::max(std::fabs(*lo), std::fabs(*hi));
  if (!scheme.zero_in_range) return static_cast<double>(*hi) - static_cast<double>(*lo);
  return std::max(static_cast<double>(*hi), 0.0) - std::min(static_cast<double>(*lo), 0.0);
}

int Steps(const WeightScheme& scheme) {
  if (!scheme.symmetric) return (1 << scheme.bits) - 1;
  return (1 << (scheme.bits - 1)) - (scheme.full_range ? 0 : 1);
}

TEST_CASE("affine: a weight inside the range is off by half a step at most", "[affine]") {
  ForEachBlock([](const WeightScheme& scheme, const Block& block) {
    const double scale = static_cast<double>(block.affine.scale);
    // A scale that FP16 rounded down leaves the ends of the range outside by this much.
    const double scale_error = std::fabs(Extent(scheme, block) - Steps(scheme) * scale);
    const CodeRange range = Codes(scheme);
    for (size_t i = 0; i < block.weights.size(); ++i) {
      const double weight = static_cast<double>(block.weights[i]);
      const bool clamped = block.codes[i] == range.min || block.codes[i] == range.max;
      // Without zero in range, or beyond the top of the full range, clamping may cost any amount.
      const bool may_clamp = scheme.symmetric ? scheme.full_range : !scheme.zero_in_range;
      if (clamped && may_clamp) continue;
      const double error =
          std::fabs(weight - static_cast<double>(Decode(block.codes[i], block.affine)));
      // Rounding the quotient to FP32 may move it across a tie: a few ulp of the weight.
      const double bound = scale / 2 + scale_error + 1e-6 * std::fabs(weight);
      if (!(error <= bound)) FAIL("weight " << weight << ": " << error << " > " << bound);
    }
  });
}

TEST_CASE("affine: no other code is nearer than the chosen one", "[affine]") {
  ForEachBlock([](const WeightScheme& scheme, const Block& block) {
    const CodeRange range = Codes(scheme);
    for (size_t i = 0; i < block.weights.size(); ++i) {
      const double weight = static_cast<double>(block.weights[i]);
      const auto distance = [&](int code) {
        return std::fabs(weight - static_cast<double>(Decode(code, block.affine)));
      };
      const double chosen = distance(block.codes[i]);
      double best = chosen;
      for (int code = range.min; code <= range.max; ++code) best = std::min(best, distance(code));
      if (chosen > best + 1e-6 * std::fabs(weight)) FAIL("weight " << weight);
    }
  });
}

TEST_CASE("affine: the codes stay in the scheme's range", "[affine]") {
  ForEachBlock([](const WeightScheme& scheme, const Block& block) {
    const CodeRange range = Codes(scheme);
    for (int code : block.codes) {
      if (code < range.min || code > range.max) FAIL("code " << code);
    }
    if (block.affine.zero < 0 || block.affine.zero > range.max) FAIL("zero " << block.affine.zero);
  });
}

TEST_CASE("affine: zero is exact where the range holds it", "[affine]") {
  size_t zeros = 0;
  ForEachBlock([&](const WeightScheme& scheme, const Block& block) {
    if (!scheme.symmetric && !scheme.zero_in_range) return;
    for (size_t i = 0; i < block.weights.size(); ++i) {
      if (block.weights[i] != 0) continue;
      ++zeros;
      if (block.codes[i] != block.affine.zero) FAIL("0 has code " << block.codes[i]);
      if (Decode(block.codes[i], block.affine) != 0) FAIL("0 decodes to another value");
    }
  });
  CHECK(zeros > 1000);
}

TEST_CASE("affine: the ends of the range take the scheme's edge codes", "[affine]") {
  ForEachBlock([](const WeightScheme& scheme, const Block& block) {
    const auto [lo, hi] = std::minmax_element(block.weights.begin(), block.weights.end());
    const int lowest = *std::min_element(block.codes.begin(), block.codes.end());
    const int highest = *std::max_element(block.codes.begin(), block.codes.end());
    const CodeRange range = Codes(scheme);
    if (scheme.symmetric) {
      if (std::fabs(*lo) > std::fabs(*hi)) {
        if (lowest != range.min) FAIL("lowest code " << lowest);
      } else {
        if (highest != range.max) FAIL("highest code " << highest);
      }
    } else if (scheme.zero_in_range) {
      // Rounding the zero point can cost one code at one end, not at both.
      if (*lo < 0 && lowest > 1) FAIL("lowest code " << lowest);
      if (*hi > 0 && highest < range.max - 1) FAIL("highest code " << highest);
    }
  });
}

TEST_CASE("affine: the scale is the FP16 number nearest to the wanted one", "[affine]") {
  ForEachBlock([](const WeightScheme& scheme, const Block& block) {
    const auto [lo, hi] = std::minmax_element(block.weights.begin(), block.weights.end());
    if (*lo == *hi) return;
    const double wanted = std::ldexp(Extent(scheme, block) / Steps(scheme), -block.exponent);
    const double scale = std::ldexp(static_cast<double>(block.affine.scale), -block.exponent);
    const uint16_t pattern = FloatToHalf(static_cast<float>(scale));
    if (static_cast<double>(HalfToFloat(pattern)) != scale) FAIL("not FP16: " << scale);
    const double next = static_cast<double>(HalfToFloat(static_cast<uint16_t>(pattern + 1)));
    const double slack = 1e-6 * wanted;  // the wanted scale is itself rounded to FP32
    if (std::fabs(scale - wanted) > std::fabs(next - wanted) + slack) FAIL("scale " << scale);
    if (pattern == 0) return;
    const double previous = static_cast<double>(HalfToFloat(static_cast<uint16_t>(pattern - 1)));
    if (std::fabs(scale - wanted) > std::fabs(previous - wanted) + slack) FAIL("scale " << scale);
  });
}

}  // namespace
}  // namespace quantref
