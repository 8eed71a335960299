#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <vector>

#include "harness/kernels/qgemm_testing.h"
#include "harness/quant/format.h"
#include "harness/quant/grid.h"

// Integer products of codes whose zero points are none.

namespace quantref {
namespace {

using testing::CheckAllIsas;
using testing::Format;
using testing::kBytes;
using testing::kFloats;
using testing::NormalMatrix;
using testing::Product;

WeightScheme FloatZero(int bits, size_t group) {
  WeightScheme scheme = SchemeOf(*FindFormat("float_zero"));
  scheme.bits = bits;
  scheme.group = group;
  return scheme;
}

// Zero points between codes, at codes, and beyond them.
TiledMatrix WithZeros(const TiledMatrix& random) {
  PackedMatrix packed = random.Unpack();
  const float zeros[] = {7.375f, -2.5f, 4, 0.0625f, 18.75f};
  for (size_t row = 0; row < packed.rows(); ++row) {
    for (size_t g = 0; g < packed.scale_cols(); ++g)
      packed.set_grid(row, g, {packed.grid(row, g).scale(), zeros[(row + g) % 5], packed.scheme()});
  }
  return TiledMatrix(packed);
}

TEST_CASE("float zeros: products are those of the decoded weights", "[float_zero]") {
  Rng rng(1);
  for (const int bits : {2, 3, 4, 8}) {
    for (const auto& [cols, group] :
         {testing::ColsAndGroup{128, 64}, {96, 32}, {200, 64}, {130, 100}}) {
      const TiledMatrix w = WithZeros(TiledMatrix::Random(20, cols, FloatZero(bits, group), rng));
      Matrix<float> values(20, cols);
      w.DecodeRows(0, values.view());
      const Matrix<float> x = NormalMatrix(5, cols, rng);
      const Matrix<float> floats = Product(w, x.view(), kFloats, ActiveIsa());
      const Matrix<float> bytes = Product(w, x.view(), kBytes, ActiveIsa());
      for (size_t t = 0; t < 5; ++t) {
        const float scale = testing::LargestOf(x.view().row_span(t)) / 127;
        for (size_t o = 0; o < 20; ++o) {
          CAPTURE(bits, cols, group, t, o);
          const auto [exact, magnitude] =
              testing::Exact(x.view().row_span(t), values.view().row_span(o));
          double rounded = 0;
          for (size_t k = 0; k < cols; ++k) {
            rounded += static_cast<double>(scale) *
                       std::nearbyint(static_cast<double>(x(t, k) / scale)) *
                       static_cast<double>(values(o, k));
          }
          REQUIRE(std::fabs(static_cast<double>(floats(t, o)) - exact) <= 1e-6 * magnitude);
          REQUIRE(std::fabs(static_cast<double>(bytes(t, o)) - rounded) <= 1e-6 * magnitude);
        }
      }
    }
  }
}

TEST_CASE("float zeros: every instruction set gives the scalar kernel's bits",
          "[float_zero][any_isa]") {
  Rng rng(2);
  for (const int bits : {2, 3, 4, 8}) {
    for (const auto& [cols, group] :
         {testing::ColsAndGroup{64, 32}, {200, 64}, {384, 128}, {290, 96}}) {
      const TiledMatrix w = WithZeros(TiledMatrix::Random(40, cols, FloatZero(bits, group), rng));
      for (const size_t tokens : {1, 2, 3, 4, 5, 9, 15, 16, 17, 33, 50}) {
        const Matrix<float> x = NormalMatrix(tokens, cols, rng);
        for (const Format& format : {kFloats, kBytes}) CheckAllIsas(w, x.view(), format);
      }
    }
  }
}

TEST_CASE("ternary weights: products are those of the decoded weights, the same bits everywhere",
          "[ternary]") {
  Rng rng(4);
  const TiledMatrix w = TiledMatrix::Random(40, 300, SchemeOf(*FindFormat("ternary")), rng);
  REQUIRE(w.plain().bits == 2);
  Matrix<float> values(40, 300);
  w.DecodeRows(0, values.view());
  for (const size_t tokens : {1, 5, 33}) {
    const Matrix<float> x = NormalMatrix(tokens, 300, rng);
    for (const Format& format : {kFloats, kBytes}) CheckAllIsas(w, x.view(), format);
    const Matrix<float> y = Product(w, x.view(), kFloats, ActiveIsa());
    for (size_t o = 0; o < 40; ++o) {
      const auto [exact, magnitude] =
          testing::Exact(x.view().row_span(0), values.view().row_span(o));
      REQUIRE(std::fabs(static_cast<double>(y(0, o)) - exact) <= 1e-6 * magnitude);
    }
  }
}

// With zero points that are codes it is the format `int`.
TEST_CASE("float zeros: whole ones give the bits of integer zero points", "[float_zero]") {
  Rng rng(3);
  const TiledMatrix plain = TiledMatrix::Random(33, 192, {.bits = 4, .group = 64}, rng);
  const PackedMatrix packed = plain.Unpack();
  PackedMatrix same(33, 192, FloatZero(4, 64));
  std::vector<uint8_t> codes(192);
  for (size_t row = 0; row < 33; ++row) {
    packed.GetCodes(row, codes);
    same.SetCodes(row, codes);
    for (size_t g = 0; g < 3; ++g) {
      const Affine affine = packed.affine(row, g);
      same.set_grid(row, g, {affine.scale, static_cast<float>(affine.zero), same.scheme()});
    }
  }
  const Matrix<float> x = NormalMatrix(6, 192, rng);
  for (const Format& format : {kFloats, kBytes}) {
    const Matrix<float> expected = Product(plain, x.view(), format, ActiveIsa());
    const Matrix<float> found = Product(TiledMatrix(same), x.view(), format, ActiveIsa());
    CHECK(testing::SameBits(testing::All(found), testing::All(expected)));
  }
}

}  // namespace
}  // namespace quantref
