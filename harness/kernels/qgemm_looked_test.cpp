#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <vector>

#include "harness/kernels/qgemm_testing.h"
#include "harness/quant/format.h"
#include "harness/quant/grid.h"

// Integer products of codes that stand for whole numbers by a table.

namespace quantref {
namespace {

using testing::CheckAllIsas;
using testing::Format;
using testing::kBytes;
using testing::kFloats;
using testing::NormalMatrix;
using testing::Product;

// As far apart as levels that are looked up may be.
constexpr float kFarLevels[] = {0, 0.25f,  0.5f,  0.75f,  1.25f, 1.75f,  2.25f, 3,
                                4, -0.25f, -0.5f, -0.75f, -1.5f, -2.25f, -3,    -3.75f};
constexpr NumberFormat kFar = {
    .name = "far", .about = "for tests", .levels = {kFarLevels, Midpoint::kEvenCode}, .group = 32};

std::vector<WeightScheme> LookedSchemes(size_t group) {
  std::vector<WeightScheme> schemes = {SchemeOf(*FindFormat("mxfp4")), SchemeOf(kFar)};
  for (WeightScheme& scheme : schemes) scheme.group = group;
  return schemes;
}

// Of 8-bit activations: one fused operation a group on exact sums, in levels as they are.
float LookedDefinition(const PackedMatrix& w, std::span<const float> x, size_t row) {
  std::vector<uint8_t> codes(w.cols());
  w.GetCodes(row, codes);
  const float token = testing::LargestOf(x) / 127;
  float c = 0;
  for (size_t g = 0; g < w.scales().cols; ++g) {
    double sum = 0;
    for (size_t k = w.scales().Begin(g); k < w.scales().End(g); ++k) {
      sum += std::nearbyint(static_cast<double>(x[k] / token)) *
             static_cast<double>(w.scheme().format->levels[codes[k]]);
    }
    c = std::fma(w.grid(row, g).scale(), static_cast<float>(sum), c);
  }
  return token * c;
}

TEST_CASE("looked-up codes: 8-bit activations are multiplied exactly", "[looked]") {
  Rng rng(1);
  for (const WeightScheme& scheme : LookedSchemes(32)) {
    for (const size_t cols : {32, 64, 100, 576}) {
      CAPTURE(SchemeName(scheme), cols);
      const TiledMatrix w = TiledMatrix::Random(17, cols, scheme, rng);
      REQUIRE(w.plain().form == CodeForm::kLooked);
      const Matrix<float> x = NormalMatrix(5, cols, rng);
      const Matrix<float> y = Product(w, x.view(), kBytes, ActiveIsa());
      const PackedMatrix packed = w.Unpack();
      for (size_t t = 0; t < 5; ++t) {
        for (size_t o = 0; o < 17; ++o)
          REQUIRE(y(t, o) == LookedDefinition(packed, x.view().row_span(t), o));
      }
    }
  }
}

TEST_CASE("looked-up codes: every instruction set gives the scalar kernel's bits",
          "[looked][any_isa]") {
  Rng rng(2);
  for (const size_t group : {32, 64, 96, 128}) {
    for (const WeightScheme& scheme : LookedSchemes(group)) {
      const size_t cols = 3 * group + 37;
      const TiledMatrix w = TiledMatrix::Random(40, cols, scheme, rng);
      for (const size_t tokens : {1, 2, 3, 4, 5, 9, 15, 16, 17, 33, 50}) {
        const Matrix<float> x = NormalMatrix(tokens, cols, rng);
        for (const Format& format : {kFloats, kBytes}) CheckAllIsas(w, x.view(), format);
      }
    }
  }
  for (size_t rows = 1; rows <= 67; ++rows) {
    const TiledMatrix w = TiledMatrix::Random(rows, 96, LookedSchemes(32)[0], rng);
    for (const Format& format : {kFloats, kBytes})
      CheckAllIsas(w, NormalMatrix(2, 96, rng).view(), format);
  }
}

TEST_CASE("looked-up codes: scales times a power of two give products times it", "[looked]") {
  Rng rng(3);
  PackedMatrix packed = TiledMatrix::Random(20, 96, SchemeOf(kFar), rng).Unpack();
  const Matrix<float> x = NormalMatrix(3, 96, rng);
  packed.set_exponent(0);
  const Matrix<float> plain = Product(TiledMatrix(packed), x.view(), kBytes, ActiveIsa());
  packed.set_exponent(-20);
  const Matrix<float> y = Product(TiledMatrix(packed), x.view(), kBytes, ActiveIsa());
  for (size_t i = 0; i < 3 * 20; ++i) REQUIRE(y.data()[i] == std::ldexp(plain.data()[i], -20));
}

// All weights at one end, all activations at one end: where sums of 16 bits would overflow first.
TEST_CASE("looked-up codes: sums are exact at the extremes", "[looked]") {
  WeightScheme scheme = SchemeOf(kFar);
  scheme.group = 64;
  for (const uint8_t code : {uint8_t{8}, uint8_t{15}}) {
    PackedMatrix packed(40, 256, scheme);
    const std::vector<uint8_t> codes(256, code);
    for (size_t row = 0; row < 40; ++row) {
      packed.SetCodes(row, codes);
      for (size_t g = 0; g < 4; ++g) packed.set_grid(row, g, {1.0f, scheme});
    }
    const TiledMatrix w(packed);
    for (const float value : {kWideLimit, -kWideLimit}) {
      for (const size_t tokens : {1, 2, 4, 33}) {
        Matrix<float> x(tokens, 256);
        std::fill_n(x.data(), tokens * 256, value);
        for (const Format& format : {kFloats, kBytes}) {
          CheckAllIsas(w, x.view(), format);
          const float expected = 256 * value * kFarLevels[code];
          CHECK(Product(w, x.view(), format, ActiveIsa())(0, 33) == Approx(expected).epsilon(1e-6));
        }
      }
    }
  }
}

TEST_CASE("looked-up codes: FP32 activations keep FP32 accuracy", "[looked]") {
  Rng rng(6);
  const TiledMatrix w = TiledMatrix::Random(32, 512, SchemeOf(*FindFormat("mxfp4")), rng);
  Matrix<float> values(32, 512);
  w.DecodeRows(0, values.view());
  const Matrix<float> x = NormalMatrix(4, 512, rng);
  const Matrix<float> y = Product(w, x.view(), kFloats, ActiveIsa());
  for (size_t t = 0; t < 4; ++t) {
    for (size_t o = 0; o < 32; ++o) {
      const auto [exact, magnitude] =
          testing::Exact(x.view().row_span(t), values.view().row_span(o));
      REQUIRE(std::fabs(y(t, o) - exact) <= 1e-6 * magnitude);
    }
  }
}

}  // namespace
}  // namespace quantref
