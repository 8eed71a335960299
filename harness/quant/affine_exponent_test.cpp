#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <vector>

#include "harness/base/matrix.h"
#include "harness/base/rng.h"
#include "harness/quant/grid.h"
#include "harness/quant/quant_testing.h"
#include "harness/testing/testing.h"

// The power of two that the scales of a matrix share.

namespace quantref {
namespace {

using testing::kFewCols;
using testing::kFewGroup;
using testing::kFewRows;

Matrix<float> WeightsAt(Rng& rng, int exponent) {
  Matrix<float> weights(kFewRows, kFewCols);
  for (size_t i = 0; i < kFewRows * kFewCols; ++i)
    weights.data()[i] = std::ldexp(static_cast<float>(rng.Normal()), exponent);
  return weights;
}

Matrix<float> Decoded(const PackedMatrix& packed) {
  Matrix<float> values(packed.rows(), packed.cols());
  for (size_t r = 0; r < packed.rows(); ++r) packed.DecodeRow(r, values.view().row_span(r));
  return values;
}

TEST_CASE("affine: however small the weights are, they keep their codes", "[affine]") {
  for (const WeightScheme& scheme : testing::AllSchemes({2, 4, 8}, kFewGroup)) {
    Rng rng(5);
    const Matrix<float> weights = WeightsAt(rng, 0);
    const PackedMatrix expected = RoundToNearest(weights.view(), scheme);
    REQUIRE(expected.exponent() == 0);
    const Matrix<float> values = Decoded(expected);
    for (const int down : {5, 12, 20, 33, 64, 75}) {
      INFO(SchemeName(scheme) << ", 2^-" << down);
      Rng same(5);
      const PackedMatrix packed = RoundToNearest(WeightsAt(same, -down).view(), scheme);
      const Matrix<float> found = Decoded(packed);
      bool equal = true;
      for (size_t r = 0; r < kFewRows; ++r)
        equal &= std::memcmp(packed.packed_row(r), expected.packed_row(r),
                             kFewCols * static_cast<size_t>(scheme.bits) / 8) == 0;
      for (size_t i = 0; i < kFewRows * kFewCols; ++i)
        equal &= found.data()[i] == std::ldexp(values.data()[i], -down);
      CHECK(equal);
      CHECK((packed.exponent() < 0) == (packed.StorageBits() == expected.StorageBits() + 8));
    }
  }
}

TEST_CASE("affine: the exponent is 0 where FP16 holds every scale", "[affine]") {
  const WeightScheme scheme{.bits = 2, .granularity = Granularity::kRow, .symmetric = true};
  const auto exponent_of = [&](const std::vector<float>& rows) {
    return RoundToNearest(MatrixView<const float>(rows.data(), rows.size(), 1), scheme).exponent();
  };
  CHECK(exponent_of({0x1p-14f, 65504}) == 0);
  CHECK(exponent_of({0, 0x1p-14f, 1}) == 0);  // a scale of 0 is one
  CHECK(exponent_of({0, 0}) == 0);
  CHECK(exponent_of({0x1.ffp-15f, 1}) == -1);
  CHECK(exponent_of({0x1p-24f, 1}) == -10);
  CHECK(exponent_of({0x1p-24f, 0x1p8f}) == -3);  // the larger one stays below 2^12
  CHECK(exponent_of({0x1p-24f, 0x1p12f}) == 0);
}

TEST_CASE("affine: a small group costs the others nothing", "[affine]") {
  Rng rng(6);
  const WeightScheme scheme{.bits = 4, .group = kFewGroup};
  Matrix<float> weights = WeightsAt(rng, -3);
  const Matrix<float> before = Decoded(RoundToNearest(weights.view(), scheme));
  for (size_t c = 0; c < kFewGroup; ++c) weights(2, c) = std::ldexp(weights(2, c), -18);
  const PackedMatrix packed = RoundToNearest(weights.view(), scheme);
  const Matrix<float> after = Decoded(packed);
  CHECK(packed.exponent() < 0);
  for (size_t r = 0; r < kFewRows; ++r) {
    for (size_t c = 0; c < kFewCols; ++c) {
      const bool small = r == 2 && c < kFewGroup;
      CHECK(after(r, c) == (small ? std::ldexp(before(r, c), -18) : before(r, c)));
    }
  }
}

TEST_CASE("affine: an exponent changes the hash, and none does not", "[affine]") {
  PackedMatrix packed(2, 4, {.group = 4});
  const std::string plain = packed.Sha256();
  packed.set_exponent(-3);
  const std::string three = packed.Sha256();
  packed.set_exponent(-30);
  CHECK(three != plain);
  CHECK(packed.Sha256() != three);
  CHECK(packed.Sha256() != plain);
  packed.set_exponent(0);
  CHECK(packed.Sha256() == plain);
}

TEST_CASE("affine: weights that are all too small for any scale are an error", "[affine]") {
  const std::vector<float> weights = {1e-30f, -2e-30f, 0, 3e-31f};
  const MatrixView<const float> view(weights.data(), 1, 4);
  CHECK_ERROR(RoundToNearest(view, {.bits = 4, .group = 4}), "does not fit FP16 times 2^-80");
  const std::vector<float> beside = {1e-30f, -2e-30f, 1, 0.5f};  // beside others they are nothing
  CHECK_NOTHROW(
      RoundToNearest(MatrixView<const float>(beside.data(), 1, 4), {.bits = 4, .group = 2}));
}

}  // namespace
}  // namespace quantref
