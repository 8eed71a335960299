#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "harness/base/half.h"
#include "harness/quant/dynamic_map.h"
#include "harness/quant/float8.h"
#include "harness/quant/grid.h"
#include "harness/quant/quant_testing.h"
#include "harness/testing/random.h"
#include "harness/testing/testing.h"

// The formats beside `int`, as configs name them; grid_test.cpp has what holds for any table, and
// formats_golden_test.cpp what other tools make of them.

namespace quantref {
namespace {

using testing::FormatSchemes;
using testing::kInfinity;
using testing::NormalMatrix;

WeightScheme FormatScheme(const char* name) { return SchemeOf(*FindFormat(name)); }

WeightScheme GroupScheme(const char* name, size_t group) {
  WeightScheme scheme = FormatScheme(name);
  scheme.granularity = Granularity::kGroup;
  scheme.group = group;
  return scheme;
}

std::vector<float> Decoded(const PackedMatrix& packed, size_t row) {
  std::vector<float> values(packed.cols());
  packed.DecodeRow(row, values);
  return values;
}

// Of one row.
std::vector<float> RoundedRow(const std::vector<float>& row, const WeightScheme& scheme) {
  return Decoded(RoundToNearest({row.data(), 1, row.size()}, scheme), 0);
}

TEST_CASE("formats: effective bits are what is stored") {
  const auto bits = [](const WeightScheme& scheme) {
    return PackedMatrix(64, 4096, scheme).EffectiveBits();
  };
  constexpr double kWeights = 64 * 4096;
  WeightScheme nf4 = FormatScheme("nf4");
  CHECK(bits(nf4) == 4.5);
  nf4.double_quant = true;
  CHECK(bits(nf4) == 4 + 8.0 / 64 + 32.0 / (64 * 256) + 32 / kWeights);
  CHECK(bits(nf4) == Approx(4.127).margin(0.0005));
  CHECK(bits(GroupScheme("fp4", 32)) == 5);
  CHECK(bits(FormatScheme("mxfp4")) == 4.25);
  CHECK(bits(FormatScheme("nvfp4")) == 4.5 + 32 / kWeights);
  CHECK(bits(FormatScheme("fp8_e4m3")) == 8 + 32.0 / 4096);
  CHECK(bits(GroupScheme("fp8_e5m2", 128)) == 8.25);
  CHECK(bits(FormatScheme("float_zero")) == 4.5);
  WeightScheme three = GroupScheme("float_zero", 128);
  three.bits = 3;
  CHECK(bits(three) == 3.25);
  CHECK(bits(FormatScheme("ternary")) == 2 + 16 / kWeights);  // of which log2(3) are used
  CHECK(bits(GroupScheme("ternary", 64)) == 2.25);
}

TEST_CASE("formats: their names in tables") {
  const auto name = [](WeightScheme scheme, bool double_quant = false) {
    scheme.double_quant = double_quant;
    return SchemeName(scheme);
  };
  CHECK(name(FormatScheme("nf4")) == "nf4 g64");
  CHECK(name(FormatScheme("nf4"), true) == "nf4 g64 dq");
  CHECK(name(FormatScheme("mxfp4")) == "mxfp4 g32");
  CHECK(name(FormatScheme("nvfp4")) == "nvfp4 g16");
  CHECK(name(FormatScheme("fp8_e4m3")) == "fp8_e4m3 row");
  CHECK(name(FormatScheme("float_zero")) == "float_zero4 g64");
  CHECK(name(FormatScheme("ternary")) == "ternary tensor");
}

TEST_CASE("formats: what a format fixes is not asked otherwise") {
  CHECK_ERROR(CheckApplies(GroupScheme("mxfp4", 64), "w"),
              "w: mxfp4 has a scale for each 32 inputs by definition, found g64");
  WeightScheme scheme = FormatScheme("nvfp4");
  scheme.granularity = Granularity::kRow;
  CHECK_ERROR(CheckApplies(scheme, "w"), "nvfp4 has a scale for each 16 inputs", "found row");
  scheme = FormatScheme("mxfp4");
  scheme.double_quant = true;
  CHECK_ERROR(CheckApplies(scheme, "w"), "double_quant quantizes FP32 scales", "mxfp4 are e8m0");
  scheme = GroupScheme("float_zero", 64);
  scheme.symmetric = true;
  CHECK_ERROR(CheckApplies(scheme, "w"), "float_zero has zero points by definition");
  for (const WeightScheme& allowed : FormatSchemes(24)) CHECK_NOTHROW(CheckApplies(allowed, "w"));
}

TEST_CASE("formats: mxfp4 has the power of two two below that of the largest weight") {
  const auto scale = [](float absmax) {
    const std::vector<float> row = {0.1f * absmax, -absmax};
    return RoundToNearest({row.data(), 1, 2}, FormatScheme("mxfp4")).grid(0, 0).scale();
  };
  CHECK(scale(4) == 1);
  CHECK(scale(std::nextafter(8.0f, 0.0f)) == 1);
  CHECK(scale(8) == 2);
  CHECK(scale(0x1p-10f) == 0x1p-12f);
  CHECK(scale(0) == 0x1p-127f);
  CHECK(scale(0x1p-130f) == 0x1p-127f);  // of subnormal weights, the least
  CHECK(scale(3e38f) == 0x1p125f);
  // Ties to the even mantissa; what is beyond 6 becomes 6.
  CHECK(RoundedRow({7.9f, 5, 3.5f, 2.5f, 1.75f, 0.75f, 0.25f, -5, -0.25f}, FormatScheme("mxfp4")) ==
        std::vector<float>{6, 4, 4, 2, 2, 1, 0, -4, 0});
}

TEST_CASE("formats: nvfp4 has E4M3 scales over the number that makes the largest of them 448") {
  Matrix<float> weights = NormalMatrix(4, 64, 1, 0.03);
  weights(2, 37) = -0.5f;
  const PackedMatrix packed = RoundToNearest(weights.view(), FormatScheme("nvfp4"));
  const float divisor = packed.frame().divisor;
  CHECK(divisor == 448.0f * 6 / 0.5f);
  CHECK(packed.scale_bytes()[2 * 4 + 37 / 16] == 0x7e);
  CHECK(packed.grid(2, 2).scale() == 448 / divisor);
  for (size_t r = 0; r < 4; ++r) {
    for (size_t s = 0; s < 4; ++s) {
      float absmax = 0;
      for (size_t c = 16 * s; c < 16 * (s + 1); ++c)
        absmax = std::max(absmax, std::fabs(weights(r, c)));
      CHECK(packed.grid(r, s).scale() ==
            E4m3Levels()[E4m3Levels().Nearest(divisor * (absmax / 6))] / divisor);
    }
  }
  std::fill_n(weights.data(), 4 * 64, 0.0f);
  CHECK(Decoded(RoundToNearest(weights.view(), FormatScheme("nvfp4")), 1) ==
        std::vector<float>(64, 0));
  weights(0, 0) = 1e-38f;
  CHECK_ERROR(RoundToNearest(weights.view(), FormatScheme("nvfp4")), "too small for E4M3 scales");
}

TEST_CASE("formats: the numbers of 8-bit floats") {
  CHECK(kE4m3Numbers[0x7e] == 448);
  CHECK(kE4m3Numbers[0x01] == 0x1p-9f);
  CHECK(kE4m3Numbers[0x08] == 0x1p-6f);
  CHECK(kE4m3Numbers[0x38] == 1);
  CHECK(kE4m3Numbers[0xb9] == -1.125f);
  CHECK(kE5m2Numbers[0x7b] == 57344);
  CHECK(kE5m2Numbers[0x01] == 0x1p-16f);
  CHECK(kE5m2Numbers[0x3c] == 1);
  for (const unsigned code : {0x7fu, 0xffu})  // NaN, which rounding never gives
    CHECK(E4m3Levels().Nearest(kE4m3Numbers[code]) == (code ^ 1));
  std::set<size_t> given;
  const LevelTable e5m2(kE5m2Numbers, Midpoint::kEvenCode);
  for (const float number : kE5m2Numbers) given.insert(e5m2.Nearest(number));
  CHECK(given.size() == 247);  // 2 * 124 finite ones, with one zero
  CHECK(e5m2.Nearest(kInfinity) == 0x7b);
  CHECK(E4m3Levels().Nearest(1.0625f) == 0x38);  // ties to the even mantissa
  CHECK(E4m3Levels().Nearest(-1.1875f) == 0xba);
}

TEST_CASE("formats: nf4 and fp4 take the lower level midway") {
  const LevelTable &nf4 = FindFormat("nf4")->levels, &fp4 = FindFormat("fp4")->levels;
  CHECK(nf4.Nearest(nf4[8] / 2) == 7);
  CHECK(nf4.Nearest(nf4[6] / 2) == 6);
  CHECK(fp4.Nearest(fp4[1] / 2) == 0);
  CHECK(fp4.Nearest(-fp4[1] / 2) == 9);
  // Of twelfths the middle is half the sum in FP32: 7/12 and 5/12 of the largest weight lie there.
  WeightScheme scheme = FormatScheme("fp4");
  scheme.granularity = Granularity::kRow;
  CHECK(RoundedRow({12, 7, 5, -7}, scheme) ==
        std::vector<float>{12, 12 * fp4[5], 12 * fp4[4], 12 * fp4[10]});
}

TEST_CASE("formats: ternary has the mean magnitude and halves become 0") {
  // Mean magnitude 1.
  CHECK(RoundedRow({0.5f, -0.5f, 0.625f, -0.75f, 2.625f}, FormatScheme("ternary")) ==
        std::vector<float>{0, 0, 1, -1, 1});
  const std::vector<float> row = {0, 0, 0};
  CHECK(RoundedRow(row, FormatScheme("ternary")) == row);
  Matrix<float> weights(1, 2), limits(1, 1);  // what is cut counts as cut
  weights(0, 0) = 1;
  weights(0, 1) = -5;
  limits(0, 0) = 3;
  CHECK(Decoded(RoundToNearest(weights.view(), FormatScheme("ternary"), limits.view()), 0) ==
        std::vector<float>{0, -2});
}

TEST_CASE("formats: float_zero spans the weights from end to end") {
  WeightScheme scheme = GroupScheme("float_zero", 4);
  scheme.bits = 2;
  const std::vector<float> row = {1, 1.25f, 1.5f, 1.75f, -3, -2, -1.5f, 0};
  const PackedMatrix packed = RoundToNearest({row.data(), 1, 8}, scheme);
  CHECK(packed.grid(0, 0).scale() == 0.25f);
  CHECK(packed.grid(0, 0).zero() == -4);  // no code
  CHECK(packed.grid(0, 1).zero() == 3);
  CHECK(Decoded(packed, 0) ==
        std::vector<float>{1, 1.25f, 1.5f, 1.75f, -3, -2, -1, 0});  // 1.5 goes to the even code
  CHECK(packed.grid(0, 0).Reach().hi == 1.875f);
  CHECK(RoundedRow({0.7f, 0.7f}, scheme)[0] == Approx(0.7f).epsilon(0.001));  // 0 is taken in
  CHECK(RoundedRow({0, 0}, scheme) == std::vector<float>{0, 0});
  // So far from 0 that the zero would not be precise: the range has 0 in it.
  const std::vector<float> far = {1000, 1000.001f};
  const PackedMatrix spanned = RoundToNearest({far.data(), 1, 2}, scheme);
  CHECK(spanned.grid(0, 0).zero() == 0);
  CHECK(Decoded(spanned, 0)[1] == Approx(1000).epsilon(0.001));
  CHECK(RoundedGrid(0.1f, 3.3f, scheme).zero() == RoundToHalf(3.3f));
  CHECK(RoundedGrid(0.1f, 3.3f, scheme).scale() == RoundToHalf(0.1f));
  CHECK_FALSE(std::signbit(RoundedGrid(0.1f, -0.0f, scheme).zero()));
  CHECK_FALSE(std::signbit(RoundedGrid(0.1f, -1e-9f, scheme).zero()));
  CHECK_ERROR(RoundedGrid(0.1f, 1e6f, scheme), "a zero of 1000000 does not fit FP16");
}

TEST_CASE("formats: values that searches round are those that codes stand for") {
  const Matrix<float> weights = NormalMatrix(9, 40, 3, 0.03);
  for (const WeightScheme& scheme : FormatSchemes(16)) {
    INFO(SchemeName(scheme));
    const ScaleShape shape = ShapeOfScales(9, 40, scheme);
    Matrix<float> limits(shape.rows, shape.cols), values(9, 40);
    std::fill_n(limits.data(), shape.count(), 0.02f);
    for (const bool limited : {false, true}) {
      const MatrixView<const float> cut = limited ? limits.view() : MatrixView<float>();
      const PackedMatrix packed = RoundToNearest(weights.view(), scheme, cut);
      RoundValues(weights.view(), scheme, cut, values.view());
      for (size_t r = 0; r < 9; ++r) {
        const std::vector<float> row = Decoded(packed, r);
        CHECK(std::equal(row.begin(), row.end(), values.row(r)));
      }
    }
  }
}

TEST_CASE("formats: rows that are no weights round as matrices of one row") {
  const Matrix<float> weights = NormalMatrix(1, 44, 4, 0.03);
  const std::span<const float> row(weights.data(), 44);
  for (const WeightScheme& scheme : FormatSchemes(16)) {
    const bool by_row =
        scheme.granularity == Granularity::kRow || scheme.granularity == Granularity::kGroup;
    if (!by_row || scheme.double_quant) continue;
    INFO(SchemeName(scheme));
    std::vector<float> values(44), expected(44);
    float absmax = 0;
    for (const float x : row) absmax = std::max(absmax, std::fabs(x));
    ScaleUnit unit;
    if (scheme.scale_type() == ScaleType::kE4m3) unit.factor = E4m3Divisor(absmax, scheme);
    RoundRow(row, scheme, unit, values);
    RoundValues(weights.view(), scheme, {}, {expected.data(), 1, 44});
    CHECK(values == expected);
    values.assign(row.begin(), row.end());
    values[20] = kInfinity;
    RoundRow(values, scheme, unit, values);  // in place
    const size_t of_group = scheme.granularity == Granularity::kGroup ? scheme.group : 44;
    for (size_t c = 0; c < 44; ++c) CHECK(std::isnan(values[c]) == (c / of_group == 20 / of_group));
  }
}

TEST_CASE("formats: what is stored is read back, and refused where it is none") {
  const Matrix<float> weights = NormalMatrix(20, 48, 5, 0.03);
  for (const WeightScheme& scheme : FormatSchemes(16)) {
    INFO(SchemeName(scheme));
    const PackedMatrix packed = RoundToNearest(weights.view(), scheme);
    PackedMatrix read(20, 48, scheme);
    read.set_frame(packed.frame());
    REQUIRE(read.SetStored(packed.codes(), packed.scale_bytes(), packed.zero_bytes()));
    CHECK(read.Sha256() == packed.Sha256());
    CHECK(Decoded(read, 19) == Decoded(packed, 19));
    PackedMatrix again(20, 48, scheme);  // grids that were read are stored as they were
    again.set_frame(packed.frame());
    for (size_t i = 0; i < packed.scales().count(); ++i) {
      const size_t row = i / packed.scale_cols(), col = i % packed.scale_cols();
      again.set_grid(row, col, packed.grid(row, col));
    }
    CHECK(std::ranges::equal(again.scale_bytes(), packed.scale_bytes()));
    CHECK(std::ranges::equal(again.zero_bytes(), packed.zero_bytes()));
    const std::vector<uint8_t> wrong(packed.scale_bytes().size(), 0xff);
    CHECK_FALSE(
        read.SetStored(packed.codes().subspan(1), packed.scale_bytes(), packed.zero_bytes()));
    CHECK_FALSE(read.SetStored(packed.codes(), packed.scale_bytes().subspan(1), {}));
    const bool any_byte = scheme.double_quant;  // every byte is a code of the map
    CHECK(read.SetStored(packed.codes(), wrong, packed.zero_bytes()) == any_byte);
    if (!any_byte) CHECK(read.Sha256() == packed.Sha256());
  }
}

TEST_CASE("formats: hashes see the numbers that scales are relative to") {
  const Matrix<float> weights = NormalMatrix(3, 32, 6, 0.03);
  WeightScheme double_quant = GroupScheme("nf4", 16);
  double_quant.double_quant = true;
  for (const WeightScheme& scheme : {double_quant, FormatScheme("nvfp4")}) {
    PackedMatrix packed = RoundToNearest(weights.view(), scheme);
    std::set<std::string> hashes = {packed.Sha256()};
    ScaleFrame frame = packed.frame();
    (scheme.double_quant ? frame.mean : frame.divisor) *= 2;
    packed.set_frame(frame);
    hashes.insert(packed.Sha256());
    if (scheme.double_quant) {
      frame.absmax[0] *= 2;
      packed.set_frame(frame);
      hashes.insert(packed.Sha256());
    }
    CHECK(hashes.size() == (scheme.double_quant ? 3 : 2));
  }
  std::set<std::string> schemes;
  for (const WeightScheme& scheme : FormatSchemes(16)) schemes.insert(HashedScheme(scheme));
  CHECK(schemes.size() == FormatSchemes(16).size());
  WeightScheme three = FormatScheme("float_zero");
  three.bits = 3;
  CHECK(HashedScheme(three) == "float_zero3 g64 fp16");
}

TEST_CASE("formats: double quantization stores codes of the map under blocks of 256 scales") {
  WeightScheme scheme = GroupScheme("nf4", 16);
  scheme.double_quant = true;
  const Matrix<float> weights = NormalMatrix(30, 160, 7, 0.03);  // 300 scales
  const PackedMatrix packed = RoundToNearest(weights.view(), scheme);
  const ScaleFrame& frame = packed.frame();
  REQUIRE(frame.absmax.size() == 2);
  double sum = 0, worst = 0;
  for (size_t i = 0; i < 300; ++i) {
    float absmax = 0;
    for (size_t c = 0; c < 16; ++c)
      absmax = std::max(absmax, std::fabs(weights(i / 10, i % 10 * 16 + c)));
    sum += static_cast<double>(absmax);
    const float scale = packed.grid(i / 10, i % 10).scale();
    CHECK(scale ==
          DynamicMap()[packed.scale_bytes()[i]] * frame.absmax[i / kNestedBlock] + frame.mean);
    worst = std::max(worst, std::fabs(static_cast<double>(scale - absmax)));
  }
  CHECK(frame.mean == static_cast<float>(sum / 300));
  CHECK(worst < 0.01 * static_cast<double>(std::max(frame.absmax[0], frame.absmax[1])));
  // Scales that are all equal: nothing is left of them but the mean.
  Matrix<float> equal(4, 32);
  for (size_t i = 0; i < 4 * 32; ++i) equal.data()[i] = i % 2 == 0 ? 0.75f : -0.75f;
  CHECK(Decoded(RoundToNearest(equal.view(), scheme), 3)[0] == 0.75f);
}

}  // namespace
}  // namespace quantref
