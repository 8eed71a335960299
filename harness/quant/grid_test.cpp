#include "harness/quant/grid.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "harness/base/half.h"
#include "harness/base/rng.h"
#include "harness/quant/quant_testing.h"
#include "harness/testing/random.h"
#include "harness/testing/testing.h"

// Grids of any format; affine_test.cpp and its neighbours have the arithmetic of `int`.

namespace quantref {
namespace {

using testing::kUneven;
using testing::kWide;
using testing::NormalMatrix;

TEST_CASE("grid: values that searches round are those that codes stand for") {
  const Matrix<float> weights = NormalMatrix(6, 32, 3, 0.03);
  std::vector<WeightScheme> schemes = testing::AllSchemes({2, 3, 4, 8}, 16);
  for (const WeightScheme& scheme : testing::TableSchemes(16)) schemes.push_back(scheme);
  for (const WeightScheme& scheme : schemes) {
    INFO(SchemeName(scheme));
    const PackedMatrix packed(6, 32, scheme);
    Matrix<float> limits(packed.scale_rows(), packed.scale_cols());
    std::fill_n(limits.data(), limits.rows() * limits.cols(), 0.02f);
    for (const bool limited : {false, true}) {
      const MatrixView<const float> cut = limited ? limits.view() : MatrixView<float>();
      const PackedMatrix rounded = RoundToNearest(weights.view(), scheme, cut);
      Matrix<float> values(6, 32), in_place(6, 32);
      std::copy_n(weights.data(), 6 * 32, in_place.data());
      RoundValues(weights.view(), scheme, cut, values.view());
      RoundValues(in_place.view(), scheme, cut, in_place.view());
      std::vector<float> row(32);
      for (size_t r = 0; r < 6; ++r) {
        rounded.DecodeRow(r, row);
        CHECK(std::equal(row.begin(), row.end(), values.row(r)));
        CHECK(std::equal(row.begin(), row.end(), in_place.row(r)));
      }
    }
  }
}

TEST_CASE("grid: of int it is affine.h") {
  Rng rng(1);
  for (const WeightScheme& scheme : testing::AllSchemes({2, 3, 4, 8}, 16)) {
    const Affine affine = ChooseAffine({-0.7f, 1.3f}, scheme);
    const Grid grid = ChooseGrid({-0.7f, 1.3f}, scheme);
    INFO(SchemeName(scheme));
    CHECK(grid.scale() == affine.scale);
    CHECK(grid.affine().zero == affine.zero);
    for (int i = 0; i < 500; ++i) {
      const float weight = static_cast<float>(rng.Normal());
      const int code = Encode(weight, affine, Codes(scheme));
      const Grid::Point point = grid.Nearest(weight);
      const bool same = point.code == code && point.value == Decode(code, affine) &&
                        grid.Decode(code) == point.value;
      if (!same) FAIL("of " << weight);
    }
    CHECK(grid.Reach().lo == Decode(Codes(scheme).min, affine) - affine.scale / 2);
    CHECK(grid.Reach().hi == Decode(Codes(scheme).max, affine) + affine.scale / 2);
  }
}

// The distance of w / scale from the nearest level, by looking at all of them.
double LeastDistance(float quotient, const NumberFormat& format) {
  double least = std::numeric_limits<double>::infinity();
  for (size_t code = 0; code < format.levels.size(); ++code) {
    const double level = static_cast<double>(format.levels[code]);
    least = std::min(least, std::fabs(static_cast<double>(quotient) - level));
  }
  return least;
}

TEST_CASE(
    "grid: a matrix in a format with a table is the nearest one, and decodes to level * scale") {
  const Matrix<float> weights = NormalMatrix(6, 48, 2, 0.03);
  for (const WeightScheme& scheme : testing::TableSchemes(16)) {
    INFO(SchemeName(scheme));
    const NumberFormat& format = *scheme.format;
    const PackedMatrix packed = RoundToNearest(weights.view(), scheme);
    CHECK(packed.exponent() == 0);
    std::vector<uint8_t> codes(48);
    std::vector<float> values(48);
    for (size_t r = 0; r < 6; ++r) {
      packed.GetCodes(r, codes);
      packed.DecodeRow(r, values);
      for (size_t c = 0; c < 48; ++c) {
        const Grid grid = packed.grid(packed.scales().RowOf(r), packed.scales().ColOf(c));
        const float quotient = weights(r, c) / grid.scale(), level = format.levels[codes[c]];
        const double distance =
            std::fabs(static_cast<double>(quotient) - static_cast<double>(level));
        if (distance != LeastDistance(quotient, format)) FAIL("row " << r << ", column " << c);
        if (values[c] != level * grid.scale()) FAIL("row " << r << ", column " << c);
      }
    }
  }
}

TEST_CASE("grid: the scale of a table takes the largest weight to the largest level") {
  const Matrix<float> weights = NormalMatrix(3, 32, 3, 0.03);
  for (const WeightScheme& scheme : testing::TableSchemes(16)) {
    if (scheme.granularity != Granularity::kGroup) continue;
    const PackedMatrix packed = RoundToNearest(weights.view(), scheme);
    for (size_t r = 0; r < 3; ++r) {
      for (size_t s = 0; s < 2; ++s) {
        float absmax = 0;
        for (size_t c = 16 * s; c < 16 * (s + 1); ++c)
          absmax = std::max(absmax, std::fabs(weights(r, c)));
        const bool half = scheme.format == &kUneven;
        const float wanted = absmax / (half ? 3.5f : 1.0f);
        CHECK(packed.grid(r, s).scale() == (half ? RoundToHalf(wanted) : wanted));
      }
    }
  }
}

TEST_CASE("grid: codes and scales of a table survive packing, and are counted") {
  for (const NumberFormat* format : {&kUneven, &kWide}) {
    WeightScheme scheme = SchemeOf(*format);
    CHECK(scheme.bits == (format == &kUneven ? 4 : 3));
    CHECK(scheme.group == (format == &kUneven ? 16 : 8));
    CHECK_FALSE(scheme.HasZeros());
    PackedMatrix packed(2, 32, scheme);
    std::vector<uint8_t> codes(32), found(32);
    for (size_t c = 0; c < 32; ++c) codes[c] = static_cast<uint8_t>(c % format->levels.size());
    packed.SetCodes(1, codes);
    packed.set_grid(1, 1, Grid(0.375f, scheme));
    packed.GetCodes(1, found);
    CHECK(found == codes);
    CHECK(packed.grid(1, 1).scale() == 0.375f);
    CHECK(packed.grid(1, 0).scale() == 0);
    for (size_t code = 0; code < format->levels.size(); ++code)
      CHECK(packed.grid(1, 1).Decode(static_cast<int>(code)) == 0.375f * format->levels[code]);
  }
  CHECK(PackedMatrix(3, 64, SchemeOf(kUneven)).EffectiveBits() == 4 + 16 / 16.0);
  CHECK(PackedMatrix(3, 64, SchemeOf(kWide)).EffectiveBits() == 3 + 32 / 8.0);
}

TEST_CASE("grid: weights of a table beyond the limits are cut there, and what is clipped is told") {
  WeightScheme scheme = SchemeOf(kWide);
  scheme.granularity = Granularity::kRow;
  Matrix<float> weights(1, 3), limits(1, 1);
  weights(0, 0) = -4;
  weights(0, 1) = 1.1f;
  weights(0, 2) = 2;
  limits(0, 0) = 2;
  const PackedMatrix packed = RoundToNearest(weights.view(), scheme, limits.view());
  CHECK(packed.grid(0, 0).scale() == 2);
  std::vector<float> values(3);
  packed.DecodeRow(0, values);
  CHECK(values == std::vector<float>{-2, 0.66f * 2, 2});
  const ValueRange reach = packed.grid(0, 0).Reach();  // half a step beyond each end
  CHECK(reach.lo == Approx(2 * (-1 - 0.39 / 2)));
  CHECK(reach.hi == Approx(2 * (1 + 0.34 / 2)));
}

TEST_CASE("grid: groups of zeros, tiny and huge weights of a table") {
  WeightScheme half = SchemeOf(kUneven), wide = SchemeOf(kWide);
  half.granularity = wide.granularity = Granularity::kRow;
  Matrix<float> weights(2, 4);
  std::fill_n(weights.data(), 8, 0.0f);
  std::vector<float> values(4);
  const auto decoded = [&](const WeightScheme& scheme, size_t row) {
    RoundToNearest(weights.view(), scheme).DecodeRow(row, values);
    return values;
  };
  CHECK(decoded(half, 0) == std::vector<float>(4, 0));
  CHECK(decoded(wide, 0) == std::vector<float>(4, 0));  // the scale is 0, whatever the level
  weights(1, 2) = 0x1p-40f;                             // below all of FP16: the exponent
  CHECK(RoundToNearest(weights.view(), half).exponent() < 0);
  CHECK(RoundToNearest(weights.view(), wide).exponent() == 0);
  CHECK(decoded(half, 1)[2] == Approx(0x1p-40f).epsilon(1e-3));
  CHECK(decoded(wide, 1)[2] == 0x1p-40f);
  weights(1, 2) = 3e38f;
  CHECK_ERROR(RoundToNearest(weights.view(), half), "does not fit FP16");
  CHECK(decoded(wide, 1)[2] == 3e38f);
  CHECK(decoded(wide, 0) == std::vector<float>(4, 0));
  CHECK(WidestRange(half, {}) == kMaxHalf / 2 * 3.5f);
}

TEST_CASE(
    "grid: the table and the type of scales are part of the hash, a format's name is in the "
    "scheme's") {
  static constexpr float kOther[] = {-1, -0.61f, -0.3f, -0.07f, 0.11f, 0.34f, 0.66f, 0.99f};
  static constexpr NumberFormat kChanged = {
      .name = "wide", .about = "", .levels = {kOther, Midpoint::kLower}, .scale = ScaleType::kFp32};
  static constexpr NumberFormat kHalfScales = {
      .name = "wide", .about = "", .levels = {testing::kWideLevels, Midpoint::kLower}};
  std::set<std::string> hashes;
  for (const NumberFormat* format : {&kWide, &kChanged, &kHalfScales}) {
    WeightScheme scheme = SchemeOf(*format);
    scheme.group = 8;
    hashes.insert(HashedScheme(scheme));
    CHECK(SchemeName(scheme) == "wide g8");
  }
  CHECK(hashes.size() == 3);
  WeightScheme row = SchemeOf(kUneven);
  row.granularity = Granularity::kRow;
  CHECK(SchemeName(row) == "uneven row");
  CHECK(HashedScheme(row).starts_with("uneven row fp16 "));
}

TEST_CASE("grid: every format that configs name is sound, and int is the default") {
  std::set<std::string_view> names;
  for (const NumberFormat* format : NumberFormats()) {
    names.insert(format->name);
    INFO(format->name);
    CHECK(FindFormat(format->name) == format);
    CHECK_FALSE(format->about.empty());
    CHECK_NOTHROW(CheckApplies(SchemeOf(*format), "w"));
    if (format->evenly_spaced()) continue;
    CHECK(format->levels.distinct() >= 2);
    CHECK((kMinBits <= format->bits() && format->bits() <= kMaxBits));
  }
  CHECK(names.size() == NumberFormats().size());
  CHECK(WeightScheme{}.format == FindFormat("int"));
  CHECK(FindFormat("in") == nullptr);
}

TEST_CASE("grid: a scheme has the bits of its format") {
  WeightScheme scheme = SchemeOf(kUneven);
  scheme.bits = 5;
  CHECK_ERROR(CheckApplies(scheme, "w"), "w: uneven has codes of 4 bits, found 5");
}

}  // namespace
}  // namespace quantref
