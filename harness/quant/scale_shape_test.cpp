#include "harness/quant/scale_shape.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "harness/base/rng.h"
#include "harness/quant/grid.h"
#include "harness/quant/quant_testing.h"

// Which weights share a scale, and what follows where groups do not divide the inputs.

namespace quantref {
namespace {

using testing::kRaggedSizes;

TEST_CASE("scale_shape: every weight has one scale, and a row's last group has what is left") {
  for (const auto& [cols, group] : kRaggedSizes) {
    for (const WeightScheme& scheme : testing::AllSchemes({4}, group)) {
      INFO(SchemeName(scheme) << ", " << cols << " columns");
      const ScaleShape shape = ShapeOfScales(6, cols, scheme);
      CHECK(shape.count() == shape.rows * shape.cols);
      for (size_t s = 0, next = 0; s < shape.cols; ++s) {
        REQUIRE(shape.Begin(s) == next);
        for (; next < shape.End(s); ++next) REQUIRE(shape.ColOf(next) == s);
        REQUIRE(shape.Size(s) == shape.End(s) - shape.Begin(s));
        REQUIRE(shape.Size(s) > 0);
        if (s + 1 < shape.cols) REQUIRE(shape.Size(s) == shape.cols_each);
      }
      CHECK(shape.End(shape.cols - 1) == cols);
      CHECK(shape.RowOf(5) + 1 == shape.rows);
      if (scheme.granularity != Granularity::kGroup) continue;
      CHECK(shape.cols_each == std::min(group, cols));
      CHECK(shape.cols ==
            static_cast<size_t>(std::ceil(static_cast<double>(cols) / static_cast<double>(group))));
    }
  }
  const ScaleShape smollm = ShapeOfScales(3, 576, {.group = 128});
  CHECK(smollm.rows == 3);
  CHECK(smollm.cols == 5);
  CHECK(smollm.Size(3) == 128);
  CHECK(smollm.Size(4) == 64);
}

TEST_CASE("scale_shape: a group is rounded as a matrix of its own would be") {
  Rng rng(1);
  for (const auto& [cols, group] : kRaggedSizes) {
    Matrix<float> weights(3, cols);
    for (size_t i = 0; i < 3 * cols; ++i)
      weights.data()[i] = static_cast<float>(0.05 * rng.Normal());
    std::vector<WeightScheme> schemes = testing::AllSchemes({2, 3, 4, 5, 6, 7, 8}, group);
    for (const WeightScheme& scheme : testing::TableSchemes(group)) schemes.push_back(scheme);
    for (const WeightScheme& scheme : schemes) {
      if (scheme.granularity != Granularity::kGroup) continue;
      INFO(SchemeName(scheme) << ", " << cols << " columns");
      WeightScheme by_row = scheme;
      by_row.granularity = Granularity::kRow;
      const PackedMatrix whole = RoundToNearest(weights.view(), scheme);
      Matrix<float> decoded(3, cols), searched(3, cols);
      for (size_t r = 0; r < 3; ++r) whole.DecodeRow(r, decoded.view().row_span(r));
      RoundValues(weights.view(), scheme, {}, searched.view());
      REQUIRE(std::equal(decoded.data(), decoded.data() + 3 * cols, searched.data()));
      for (size_t s = 0; s < whole.scale_cols(); ++s) {
        const size_t first = s * group, size = std::min(group, cols - first);
        const PackedMatrix alone = RoundToNearest(weights.view().Cols(first, size), by_row);
        std::vector<float> values(size);
        for (size_t r = 0; r < 3; ++r) {
          alone.DecodeRow(r, values);
          REQUIRE(std::equal(values.begin(), values.end(), decoded.row(r) + first));
          REQUIRE(whole.grid(r, s).scale() == alone.grid(r, 0).scale());
        }
      }
    }
  }
}

TEST_CASE("scale_shape: rounding to nearest by the formulas, in double") {
  Rng rng(2);
  for (const auto& [cols, group] : kRaggedSizes) {
    Matrix<float> weights(4, cols);
    for (size_t i = 0; i < 4 * cols; ++i) {
      const double w = rng.Normal();  // not so small that scales need an exponent
      weights.data()[i] = static_cast<float>(std::copysign(std::max(std::fabs(w), 0.1), w));
    }
    for (int bits = kMinBits; bits <= kMaxBits; ++bits) {
      for (const bool symmetric : {false, true}) {
        const WeightScheme scheme{.bits = bits, .group = group, .symmetric = symmetric};
        INFO(SchemeName(scheme) << ", " << cols << " columns");
        const PackedMatrix packed = RoundToNearest(weights.view(), scheme);
        std::vector<uint8_t> codes(cols);
        for (size_t r = 0; r < 4; ++r) {
          packed.GetCodes(r, codes);
          for (size_t first = 0, s = 0; first < cols; first += group, ++s) {
            const size_t size = std::min(group, cols - first);
            const testing::DoubleGrid expected(std::span<const float>(weights.row(r) + first, size),
                                               scheme);
            REQUIRE(packed.affine(r, s).scale == static_cast<float>(expected.scale));
            REQUIRE(packed.affine(r, s).zero == static_cast<int>(expected.zero));
            for (size_t k = first; k < first + size; ++k) {
              const double code = expected.Place(static_cast<double>(weights(r, k)));
              REQUIRE(std::fabs(codes[k] - code) < 0.5 + 1e-4);
            }
          }
        }
      }
    }
  }
}

TEST_CASE("scale_shape: bits are counted as they are stored") {
  // Five scales of 16 bits and zero points of 4 for 576 codes of 4 bits.
  const PackedMatrix smollm(7, 576, {});
  CHECK(smollm.StorageBits() == 7 * (576 * 4 + 5 * (16 + 4)));
  CHECK(smollm.EffectiveBits() == 4 + 5 * 20 / 576.0);
  CHECK(PackedMatrix(7, 576, {.symmetric = true}).EffectiveBits() == 4 + 5 * 16 / 576.0);
  // 33 codes of 3 bits take 13 bytes; two groups.
  const WeightScheme three{.bits = 3, .group = 32};
  CHECK(PackedMatrix(2, 33, three).StorageBits() == 2 * (13 * 8 + 2 * (16 + 3)));
  CHECK(PackedStorageBits(2, 33, three, true) == 2 * (13 * 8 + 2 * (16 + 3)) + 33 * 6);
  CHECK(PackedMatrix(2, 31, three).StorageBits() == 2 * (12 * 8 + 16 + 3));  // one group a row
  CHECK(PackedStorageBits(1, 1, three, true) == 8 + 16 + 3);
}

TEST_CASE("scale_shape: limits are one for each group, the short one too") {
  Matrix<float> weights(1, 5), limits(1, 3);
  const float values[] = {1, -2, 3, -4, 5}, cuts[] = {1.5f, 10, 2};
  std::copy_n(values, 5, weights.data());
  std::copy_n(cuts, 3, limits.data());
  const WeightScheme scheme{.bits = 8, .group = 2, .symmetric = true};
  const PackedMatrix packed = RoundToNearest(weights.view(), scheme, limits.view());
  std::vector<float> decoded(5);
  packed.DecodeRow(0, decoded);
  const float expected[] = {1, -1.5f, 3, -4, 2};
  for (size_t c = 0; c < 5; ++c) CHECK(decoded[c] == Approx(expected[c]).epsilon(0.01));
}

}  // namespace
}  // namespace quantref
