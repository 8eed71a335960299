#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "harness/base/half.h"
#include "harness/base/matrix.h"
#include "harness/base/rng.h"
#include "harness/quant/grid.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

using testing::kInfinity;
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

using Floats = std::vector<float>;
using Signed = std::vector<int>;

// One row of weights, rounded with one scale.
struct Rounded {
  float scale;
  int zero;
  Signed codes;
  Floats values;
};

Rounded RoundRow(const Floats& weights, WeightScheme scheme) {
  scheme.granularity = Granularity::kRow;
  const PackedMatrix packed =
      RoundToNearest(MatrixView<const float>(weights.data(), 1, weights.size()), scheme);
  std::vector<uint8_t> codes(weights.size());
  packed.GetCodes(0, codes);
  Rounded rounded{packed.affine(0, 0).scale, packed.affine(0, 0).zero, {}, Floats(weights.size())};
  rounded.codes.assign(codes.begin(), codes.end());
  packed.DecodeRow(0, rounded.values);
  return rounded;
}

TEST_CASE("affine: asymmetric, worked by hand", "[affine]") {
  // lo = -0.5, hi = 1, scale = 1.5 / 3 = 0.5, zero = 0.5 / 0.5 = 1.
  // 0.25 / 0.5 = 0.5 goes to 0 and 0.75 / 0.5 = 1.5 to 2: both to even.
  const Rounded rounded = RoundRow({-0.5f, 0.25f, 0.3f, 0.75f, 1.0f}, {.bits = 2});
  CHECK(rounded.scale == 0.5f);
  CHECK(rounded.zero == 1);
  CHECK(rounded.codes == Signed{0, 1, 2, 3, 3});
  CHECK(rounded.values == Floats{-0.5f, 0.0f, 0.5f, 1.0f, 1.0f});
}

TEST_CASE("affine: the zero point rounds ties to even too", "[affine]") {
  // scale 1; zero = 0.5 goes to 0, and the codes of -0.5 and 2.5 to 0 and 2.
  const Rounded down = RoundRow({-0.5f, 2.5f}, {.bits = 2});
  CHECK(down.scale == 1.0f);
  CHECK(down.zero == 0);
  CHECK(down.codes == Signed{0, 2});
  // zero = 1.5 goes to 2.
  const Rounded up = RoundRow({-1.5f, 1.5f}, {.bits = 2});
  CHECK(up.scale == 1.0f);
  CHECK(up.zero == 2);
  CHECK(up.codes == Signed{0, 3});
}

TEST_CASE("affine: asymmetric takes zero into a range of one sign", "[affine]") {
  // lo = 0, hi = 6: scale 2, zero 0.
  const Rounded positive = RoundRow({3.0f, 4.5f, 6.0f}, {.bits = 2});
  CHECK(positive.scale == 2.0f);
  CHECK(positive.zero == 0);
  CHECK(positive.codes == Signed{2, 2, 3});  // 1.5 to even
  // lo = -6, hi = 0: scale 2, zero 3.
  const Rounded negative = RoundRow({-3.0f, -4.5f, -6.0f}, {.bits = 2});
  CHECK(negative.scale == 2.0f);
  CHECK(negative.zero == 3);
  CHECK(negative.codes == Signed{1, 1, 0});
}

TEST_CASE("affine: min-max leaves zero out of the range", "[affine]") {
  // lo = -2, hi = 1: as with zero in range.
  const Rounded mixed = RoundRow({-2.0f, 1.0f, 0.2f}, {.bits = 2, .zero_in_range = false});
  CHECK(mixed.scale == 1.0f);
  CHECK(mixed.zero == 2);
  CHECK(mixed.codes == Signed{0, 3, 2});
  // lo = 1, hi = 4: scale 1; the zero point -1 is clamped to 0, and with it the code of 4.
  const Rounded positive = RoundRow({1.0f, 2.0f, 4.0f}, {.bits = 2, .zero_in_range = false});
  CHECK(positive.scale == 1.0f);
  CHECK(positive.zero == 0);
  CHECK(positive.codes == Signed{1, 2, 3});
  // lo = -4, hi = -1: scale 1; the zero point 4 is clamped to 3, and the code of -4 to 0.
  const Rounded negative = RoundRow({-1.0f, -2.0f, -4.0f}, {.bits = 2, .zero_in_range = false});
  CHECK(negative.zero == 3);
  CHECK(negative.codes == Signed{2, 1, 0});
}

TEST_CASE("affine: symmetric, worked by hand", "[affine]") {
  // absmax = 3, scale = 3 / (2^2 - 1) = 1, q in [-3, 3], stored with 4 added.
  const Rounded rounded =
      RoundRow({-3.0f, -2.5f, -0.5f, 0.5f, 1.5f, 2.5f, 2.6f}, {.bits = 3, .symmetric = true});
  CHECK(rounded.scale == 1.0f);
  CHECK(rounded.zero == 4);
  CHECK(rounded.codes == Signed{1, 2, 4, 4, 6, 6, 7});
  CHECK(rounded.values == Floats{-3.0f, -2.0f, 0.0f, 0.0f, 2.0f, 2.0f, 3.0f});
}

TEST_CASE("affine: symmetric full range uses the lowest code", "[affine]") {
  // absmax = 4, scale = 4 / 2^2 = 1, q in [-4, 3]: +4 is clamped.
  const Rounded rounded =
      RoundRow({-4.0f, 4.0f, 3.0f, -3.5f}, {.bits = 3, .symmetric = true, .full_range = true});
  CHECK(rounded.scale == 1.0f);
  CHECK(rounded.codes == Signed{0, 7, 7, 0});
  CHECK(rounded.values == Floats{-4.0f, 3.0f, 3.0f, -4.0f});
}

TEST_CASE("affine: the scale is the FP16 one, and that one rounds", "[affine]") {
  // 1/7 = 2^-3 * 1.142857; the FP16 number next to it is 2^-3 * (1 + 146/1024).
  const float scale = 0.125f * (1.0f + 146.0f / 1024.0f);
  const Rounded rounded = RoundRow({1.0f, -1.0f, 0.5f}, {.bits = 4, .symmetric = true});
  CHECK(rounded.scale == scale);
  CHECK(rounded.codes == Signed{15, 1, 12});  // 0.5 / scale = 3.5009
  CHECK(rounded.values == Floats{7 * scale, -7 * scale, 4 * scale});
}

TEST_CASE("affine: every scheme's codes", "[affine]") {
  for (int bits = kMinBits; bits <= kMaxBits; ++bits) {
    const int top = (1 << bits) - 1;
    CHECK(Codes({.bits = bits}).min == 0);
    CHECK(Codes({.bits = bits}).max == top);
    CHECK(Codes({.bits = bits, .full_range = true}).min == 0);  // asymmetric: not its knob
    CHECK(Codes({.bits = bits, .symmetric = true}).min == 1);
    CHECK(Codes({.bits = bits, .symmetric = true}).max == top);
    CHECK(Codes({.bits = bits, .symmetric = true, .full_range = true}).min == 0);
  }
}

TEST_CASE("affine: a tie is a tie for every FP16 scale", "[affine]") {
  // (k + 1/2) * scale has 20 bits at most, so it is exact, and so is its quotient by the scale: a
  // product with the scale's inverse would not be.
  for (int pattern = 1; pattern < 0x7c00; ++pattern) {
    const Affine affine{HalfToFloat(static_cast<uint16_t>(pattern)), 128};
    for (int k : {0, 1, 2, 5, 54, 101}) {
      const float tie = (static_cast<float>(k) + 0.5f) * affine.scale;
      const int even = k % 2 == 0 ? k : k + 1;
      if (Encode(tie, affine, {0, 255}) != 128 + even) FAIL(k << ".5 * " << affine.scale);
      if (Encode(-tie, affine, {0, 255}) != 128 - even) FAIL("-" << k << ".5 * " << affine.scale);
    }
  }
}

TEST_CASE("affine: Encode clamps quotients beyond any integer", "[affine]") {
  const Affine affine{0x1p-24f, 3};
  CHECK(Encode(1e30f, affine, {0, 15}) == 15);
  CHECK(Encode(-1e30f, affine, {0, 15}) == 0);
  CHECK(Encode(3e38f, affine, {1, 255}) == 255);  // the quotient is infinite
  CHECK(Encode(-3e38f, affine, {1, 255}) == 1);
}

TEST_CASE("affine: degenerate ranges", "[affine]") {
  const WeightScheme asymmetric{.bits = 4}, symmetric{.bits = 4, .symmetric = true};
  const Rounded zeros = RoundRow({0.0f, -0.0f, 0.0f}, asymmetric);
  CHECK(zeros.scale == 0.0f);
  CHECK(zeros.zero == 0);
  CHECK(zeros.codes == Signed{0, 0, 0});
  CHECK(RoundRow({0.0f, -0.0f}, symmetric).codes == Signed{8, 8});
  CHECK(RoundRow({0.0f, -0.0f}, symmetric).values == Floats{0.0f, 0.0f});

  // A constant without zero in range would have no width; it takes zero in: scale 0.1, code 15.
  const Rounded constant = RoundRow({1.5f, 1.5f}, {.bits = 4, .zero_in_range = false});
  CHECK(constant.scale == RoundToHalf(0.1f));
  CHECK(constant.codes == Signed{15, 15});
  CHECK(RoundRow({-1.5f, -1.5f}, {.bits = 4, .zero_in_range = false}).codes == Signed{0, 0});

  // 2^-24 / 15 would be 0 in FP16 alone.
  const Rounded tiny = RoundRow({0x1p-24f, -0.0f}, asymmetric);
  CHECK(tiny.scale == 0x1p-24f * RoundToHalf(1.0f / 15));
  CHECK(tiny.codes == Signed{15, 0});
  CHECK(RoundRow({0x1p-24f, -0x1p-24f}, symmetric).codes == Signed{15, 1});
}

TEST_CASE("affine: weights that are not finite are named by their place", "[affine]") {
  for (float bad : {kNaN, kInfinity, -kInfinity}) {
    Floats weights(12, 0.5f);
    weights[6] = bad;
    const MatrixView<const float> view(weights.data(), 3, 4);
    for (Granularity granularity :
         {Granularity::kTensor, Granularity::kRow, Granularity::kColumn, Granularity::kGroup}) {
      const WeightScheme scheme{.granularity = granularity, .group = 2};
      CHECK_ERROR(RoundToNearest(view, scheme), "finite", "row 1, column 2");
    }
  }
}

TEST_CASE("affine: a scale beyond FP16 is an error, not an infinity", "[affine]") {
  const WeightScheme asymmetric{.bits = 4}, symmetric{.bits = 4, .symmetric = true};
  CHECK(ChooseAffine({0.0f, 15 * 65504.0f}, asymmetric).scale == kMaxHalf);
  CHECK(ChooseAffine({0.0f, 15 * 65519.0f}, asymmetric).scale == kMaxHalf);  // rounds down
  CHECK_ERROR(ChooseAffine({0.0f, 15 * 65520.0f}, asymmetric), "65520", "does not fit FP16");
  CHECK_ERROR(ChooseAffine({-7 * 65520.0f, 1.0f}, symmetric), "does not fit FP16");
  const float huge = std::numeric_limits<float>::max();
  CHECK_ERROR(ChooseAffine({-huge, huge}, asymmetric), "does not fit FP16");
  CHECK_ERROR(RoundRow({1e7f, -1.0f}, asymmetric), "does not fit FP16");
}

TEST_CASE("affine: a range of NaN gets no scale", "[affine]") {
  for (bool symmetric : {false, true}) {
    const WeightScheme scheme{.bits = 4, .symmetric = symmetric};
    CHECK_ERROR(ChooseAffine({kNaN, kNaN}, scheme), "does not fit FP16");
    CHECK_ERROR(ChooseAffine({-kInfinity, kInfinity}, scheme), "does not fit FP16");
  }
}

TEST_CASE("affine: a strided view rounds as a dense one", "[affine]") {
  Rng rng(3);
  Floats dense(4 * 6), strided(4 * 9, kNaN);  // the padding must not be read
  for (size_t i = 0; i < dense.size(); ++i) {
    dense[i] = static_cast<float>(rng.Normal());
    strided[i / 6 * 9 + i % 6] = dense[i];
  }
  for (Granularity granularity :
       {Granularity::kTensor, Granularity::kRow, Granularity::kColumn, Granularity::kGroup}) {
    const WeightScheme scheme{.granularity = granularity, .group = 3};
    const PackedMatrix expected =
        RoundToNearest(MatrixView<const float>(dense.data(), 4, 6), scheme);
    const PackedMatrix found =
        RoundToNearest(MatrixView<const float>(strided.data(), 4, 6, 9), scheme);
    CHECK(found.Sha256() == expected.Sha256());
  }
}

}  // namespace
}  // namespace quantref
