#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "harness/base/matrix.h"
#include "harness/base/rng.h"
#include "harness/quant/grid.h"
#include "harness/quant/quant_testing.h"
#include "harness/testing/random.h"
#include "harness/testing/testing.h"

// Rounding with limits: weights count as if they were cut there.

namespace quantref {
namespace {

using testing::kFewCols;
using testing::kFewGroup;
using testing::kFewRows;
using testing::kInfinity;
using testing::NormalMatrix;

// One limit for each scale of the scheme; each cuts some weights and not others.
Matrix<float> RandomLimits(const WeightScheme& scheme, Rng& rng) {
  const PackedMatrix grid(kFewRows, kFewCols, scheme);
  Matrix<float> limits(grid.scale_rows(), grid.scale_cols());
  for (size_t i = 0; i < limits.rows() * limits.cols(); ++i) {
    limits.data()[i] = static_cast<float>(0.3 + rng.Uniform());
  }
  return limits;
}

// Each weight cut at the limit of its scale, which is found by the scheme's definition.
Matrix<float> Clamped(const Matrix<float>& weights, const WeightScheme& scheme,
                      const Matrix<float>& limits) {
  Matrix<float> clamped(kFewRows, kFewCols);
  for (size_t r = 0; r < kFewRows; ++r) {
    for (size_t c = 0; c < kFewCols; ++c) {
      size_t row = r, col = c;
      if (scheme.granularity != Granularity::kColumn) {
        col = scheme.granularity == Granularity::kGroup ? c / kFewGroup : 0;
      }
      if (scheme.granularity == Granularity::kTensor ||
          scheme.granularity == Granularity::kColumn) {
        row = 0;
      }
      clamped(r, c) = std::clamp(weights(r, c), -limits(row, col), limits(row, col));
    }
  }
  return clamped;
}

TEST_CASE("affine: with limits, as the clamped matrix without", "[affine]") {
  Rng rng(1);
  for (const WeightScheme& scheme : testing::AllSchemes({2, 4, 8}, kFewGroup)) {
    const Matrix<float> weights = NormalMatrix(kFewRows, kFewCols, rng),
                        limits = RandomLimits(scheme, rng);
    const Matrix<float> clamped = Clamped(weights, scheme, limits);
    INFO(SchemeName(scheme));
    const std::string found = RoundToNearest(weights.view(), scheme, limits.view()).Sha256();
    CHECK(found == RoundToNearest(clamped.view(), scheme).Sha256());
    CHECK(found != RoundToNearest(weights.view(), scheme).Sha256());
  }
}

TEST_CASE("affine: limits that nothing reaches change nothing", "[affine]") {
  Rng rng(2);
  for (const WeightScheme& scheme : testing::AllSchemes({2, 4, 8}, kFewGroup)) {
    const Matrix<float> weights = NormalMatrix(kFewRows, kFewCols, rng),
                        limits = RandomLimits(scheme, rng);
    const std::string plain = RoundToNearest(weights.view(), scheme).Sha256();
    INFO(SchemeName(scheme));
    for (float far : {100.0f, kInfinity}) {
      std::fill_n(limits.data(), limits.rows() * limits.cols(), far);
      CHECK(RoundToNearest(weights.view(), scheme, limits.view()).Sha256() == plain);
    }
  }
}

TEST_CASE("affine: ChooseGrids chooses the grids that rounding uses, and no code", "[affine]") {
  Rng rng(3);
  for (const WeightScheme& scheme : testing::AllSchemes({2, 4, 8}, kFewGroup)) {
    const Matrix<float> weights = NormalMatrix(kFewRows, kFewCols, rng),
                        limits = RandomLimits(scheme, rng);
    for (const MatrixView<const float>& cut : {limits.view(), MatrixView<const float>()}) {
      const PackedMatrix expected = RoundToNearest(weights.view(), scheme, cut);
      PackedMatrix packed(kFewRows, kFewCols, scheme);
      const std::vector<uint8_t> before(kFewCols, 1);
      for (size_t r = 0; r < kFewRows; ++r) packed.SetCodes(r, before);
      ChooseGrids(weights.view(), cut, packed);
      INFO(SchemeName(scheme) << ", limits: " << !cut.empty());
      for (size_t i = 0; i < packed.scale_rows(); ++i) {
        for (size_t j = 0; j < packed.scale_cols(); ++j) {
          CHECK(packed.affine(i, j).scale == expected.affine(i, j).scale);
          CHECK(packed.affine(i, j).zero == expected.affine(i, j).zero);
        }
      }
      std::vector<uint8_t> codes(kFewCols);
      for (size_t r = 0; r < kFewRows; ++r) {
        packed.GetCodes(r, codes);
        if (codes != before) FAIL("row " << r);
      }
    }
  }
}

TEST_CASE("affine: a limit cuts its own group, worked by hand", "[affine]") {
  // Two rows of two groups of two. 3 bits symmetric: scale = absmax / 3, codes around 4.
  const std::vector<float> weights = {3, -6, 6, 1, -6, 6, 3, 1};
  const std::vector<float> limits = {3, kInfinity, 6, 0};
  const WeightScheme scheme{.bits = 3, .group = 2, .symmetric = true};
  const PackedMatrix packed = RoundToNearest(MatrixView<const float>(weights.data(), 2, 4), scheme,
                                             MatrixView<const float>(limits.data(), 2, 2));
  std::vector<float> first(4), second(4);
  packed.DecodeRow(0, first);
  packed.DecodeRow(1, second);
  CHECK(packed.affine(0, 0).scale == 1);
  CHECK(packed.affine(0, 1).scale == 2);
  CHECK(packed.affine(1, 0).scale == 2);
  CHECK(packed.affine(1, 1).scale == 0);
  CHECK(first == std::vector<float>{3, -3, 6, 0});  // 1 / 2 to even
  CHECK(second == std::vector<float>{-6, 6, 0, 0});
}

TEST_CASE("affine: a cut range need no more fit FP16 than what is left of it", "[affine]") {
  const std::vector<float> weights = {1e7f, -1, 0.5f, 0.25f}, limit = {3};
  const WeightScheme scheme{.bits = 3, .granularity = Granularity::kRow, .symmetric = true};
  const MatrixView<const float> view(weights.data(), 1, 4);
  CHECK_ERROR(RoundToNearest(view, scheme), "does not fit FP16");
  const PackedMatrix packed =
      RoundToNearest(view, scheme, MatrixView<const float>(limit.data(), 1, 1));
  CHECK(packed.affine(0, 0).scale == 1);
  // What is not finite stays an error, cut or not.
  const std::vector<float> infinite = {kInfinity, -1, 0.5f, 0.25f};
  CHECK_ERROR(RoundToNearest(MatrixView<const float>(infinite.data(), 1, 4), scheme,
                             MatrixView<const float>(limit.data(), 1, 1)),
              "expected finite weights", "row 0, column 0");
}

}  // namespace
}  // namespace quantref
