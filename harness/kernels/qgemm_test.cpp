#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <numeric>

#include "harness/kernels/qgemm_testing.h"
#include "harness/quant/affine.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

using testing::All;
using testing::CheckAllIsas;
using testing::Format;
using testing::kBytes;
using testing::kFloats;
using testing::LargestOf;
using testing::NormalMatrix;
using testing::Product;
using testing::QgemmDefinition;

void CheckDefinition(const WeightScheme& scheme, size_t cols, Rng& rng) {
  for (const Format& format : {kFloats, kBytes, Format(ActivationFormat{.bits = 4})}) {
    CAPTURE(SchemeName(scheme), cols, format.has_value());
    const TiledMatrix w = TiledMatrix::Random(17, cols, scheme, rng);
    const PackedMatrix packed = w.Unpack();
    const Matrix<float> x = NormalMatrix(7, cols, rng);
    const Matrix<float> y = Product(w, x.view(), format, Isa::kScalar);
    const float limit = format ? format->Limit() : kWideLimit;
    for (size_t t = 0; t < 7; ++t) {
      const float scale = LargestOf(x.view().row_span(t)) / limit;
      for (size_t o = 0; o < 17; ++o)
        REQUIRE(y(t, o) == QgemmDefinition(packed, x.view().row_span(t), scale, limit, o));
    }
  }
}

TEST_CASE("the scalar kernel is the definition", "[any_isa]") {
  Rng rng(1);
  for (const int bits : {2, 3, 4, 6, 8}) {
    for (const size_t group : {8, 32, 64, 100})
      CheckDefinition({.bits = bits, .group = group}, 2 * group, rng);
    for (const auto& [cols, group] : testing::kRaggedSizes)
      CheckDefinition({.bits = bits, .group = group}, cols, rng);
  }
}

TEST_CASE("products with scales times a power of two are products times it") {
  Rng rng(12);
  PackedMatrix packed = TiledMatrix::Random(40, 128, {.bits = 4, .group = 64}, rng).Unpack();
  const Matrix<float> x = NormalMatrix(9, 128, rng);
  for (const Format& format : {kFloats, kBytes, Format(ActivationFormat{8, false, 0.03f})}) {
    packed.set_exponent(0);
    const Matrix<float> plain = Product(TiledMatrix(packed), x.view(), format, ActiveIsa());
    for (const int exponent : {-60, -13, 7}) {
      packed.set_exponent(exponent);
      const TiledMatrix w(packed);
      CheckAllIsas(w, x.view(), format);
      const Matrix<float> y = Product(w, x.view(), format, ActiveIsa());
      for (size_t i = 0; i < 9 * 40; ++i)
        REQUIRE(y.data()[i] == std::ldexp(plain.data()[i], exponent));
    }
  }
}

TEST_CASE("every instruction set gives the scalar kernel's bits: sizes", "[any_isa]") {
  Rng rng(2);
  for (const int bits : {2, 3, 4, 8}) {
    for (const size_t cols : testing::NastySizes()) {
      const WeightScheme scheme{.bits = bits, .granularity = Granularity::kRow};
      const TiledMatrix w = TiledMatrix::Random(17, cols, scheme, rng);
      const Matrix<float> x = NormalMatrix(9, cols, rng);
      for (const Format& format : {kFloats, kBytes}) CheckAllIsas(w, x.view(), format);
    }
    for (const size_t rows : testing::NastySizes()) {
      if (rows > 130) continue;
      const TiledMatrix w = TiledMatrix::Random(rows, 96, {.bits = bits, .group = 32}, rng);
      const Matrix<float> x = NormalMatrix(3, 96, rng);
      for (const Format& format : {kFloats, kBytes}) CheckAllIsas(w, x.view(), format);
    }
  }
}

TEST_CASE("every instruction set gives the scalar kernel's bits: groups and tokens", "[any_isa]") {
  Rng rng(3);
  for (const int bits : {2, 3, 4, 8}) {
    for (const size_t group : {8, 32, 64, 96, 128, 160}) {
      const TiledMatrix w = TiledMatrix::Random(40, 3 * group, {.bits = bits, .group = group}, rng);
      for (const size_t tokens : {1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 32, 33, 50}) {
        const Matrix<float> x = NormalMatrix(tokens, 3 * group, rng);
        for (const Format& format : {kFloats, kBytes}) CheckAllIsas(w, x.view(), format);
      }
    }
  }
}

// The codes behind the last group's inputs are random too, and must not count.
TEST_CASE("every instruction set gives the scalar kernel's bits: groups that do not divide",
          "[any_isa]") {
  Rng rng(17);
  for (const int bits : {2, 3, 4, 8}) {
    for (const auto& [cols, group] : testing::kRaggedSizes) {
      const WeightScheme scheme{.bits = bits, .group = group, .symmetric = cols % 2 == 1};
      const TiledMatrix w = TiledMatrix::Random(40, cols, scheme, rng);
      for (const size_t tokens : {1, 2, 5, 9, 33, 50}) {
        const Matrix<float> x = NormalMatrix(tokens, cols, rng);
        for (const Format& format : {kFloats, kBytes}) CheckAllIsas(w, x.view(), format);
      }
    }
  }
}

// More inputs than the AMX kernel takes in one stretch, and more tokens than it keeps near.
TEST_CASE("every instruction set gives the scalar kernel's bits: stretches and blocks",
          "[any_isa]") {
  Rng rng(4);
  const TiledMatrix grouped = TiledMatrix::Random(35, 5120, {.bits = 4, .group = 128}, rng);
  const TiledMatrix by_row =
      TiledMatrix::Random(20, 9000, {.bits = 8, .granularity = Granularity::kRow}, rng);
  const TiledMatrix ragged = TiledMatrix::Random(35, 4900, {.bits = 3, .group = 96}, rng);
  for (const Format& format : {kFloats, kBytes}) {
    CheckAllIsas(grouped, NormalMatrix(67, 5120, rng).view(), format);
    CheckAllIsas(ragged, NormalMatrix(67, 4900, rng).view(), format);
    CheckAllIsas(by_row, NormalMatrix(130, 9000, rng).view(), format);
  }
}

TEST_CASE("digits of -128 are multiplied exactly", "[any_isa]") {
  // With one large activation the scale is 1, and these codes have low digits of -128.
  Rng rng(5);
  const TiledMatrix w = TiledMatrix::Random(16, 64, {.bits = 4, .group = 32}, rng);
  Matrix<float> x(1, 64);
  for (size_t k = 0; k < 64; ++k) x(0, k) = k % 2 == 0 ? -128.0f : 128 - 256 * 128.0f;
  x(0, 7) = kWideLimit;
  const float expected = QgemmDefinition(w.Unpack(), x.view().row_span(0), 1, kWideLimit, 3);
  for (const Isa isa : testing::AvailableIsas())
    CHECK(Product(w, x.view(), kFloats, isa)(0, 3) == expected);
}

TEST_CASE("FP32 activations keep FP32 accuracy") {
  Rng rng(6);
  for (const size_t group : {32, 128, 1024}) {
    const TiledMatrix w = TiledMatrix::Random(32, 1024, {.bits = 4, .group = group}, rng);
    Matrix<float> values(32, 1024), x = NormalMatrix(8, 1024, rng);
    w.DecodeRows(0, values.view());
    x(3, 100) = 400;  // an outlier
    const Matrix<float> y = Product(w, x.view(), kFloats, ActiveIsa());
    for (size_t t = 0; t < 8; ++t) {
      for (size_t o = 0; o < 32; ++o) {
        const auto [exact, magnitude] =
            testing::Exact(x.view().row_span(t), values.view().row_span(o));
        double weights = 0;
        for (size_t k = 0; k < 1024; ++k) weights += std::fabs(static_cast<double>(values(o, k)));
        // Rounding to the grid, and FP32 sums of at most 32 groups of 4 operations.
        const double bound =
            LargestOf(x.view().row_span(t)) * weights * 0x1p-24 + 128 * 0x1p-24 * magnitude;
        REQUIRE(std::fabs(y(t, o) - exact) <= bound);
      }
    }
  }
}

TEST_CASE("a token's outputs do not depend on the other tokens, nor outputs on the split") {
  Rng rng(7);
  const TiledMatrix w = TiledMatrix::Random(100, 256, {.bits = 4, .group = 64}, rng);
  const Matrix<float> x = NormalMatrix(37, 256, rng);
  for (const Format& format : {kFloats, kBytes}) {
    const Matrix<float> whole = Product(w, x.view(), format, ActiveIsa());
    for (size_t t = 0; t < 37; ++t) {
      const Matrix<float> alone = Product(w, x.view().Rows(t, 1), format, ActiveIsa());
      REQUIRE(testing::SameBits(All(alone), whole.view().row_span(t)));
    }
    QuantizedInputs inputs;
    inputs.Pack(x.view(), format, w);
    Matrix<float> parts(37, 100);
    Matrix<uint8_t> scratch;
    for (size_t first = 0; first < 100; first += 2 * kQgemmTile)
      MultiplyQuantized(inputs, w, first, std::min(2 * kQgemmTile, 100 - first), parts.view(),
                        scratch);
    CHECK(testing::SameBits(All(parts), All(whole)));
  }
}

TEST_CASE("an activation that is not finite makes its token NaN and leaves the others alone") {
  Rng rng(8);
  const TiledMatrix w = TiledMatrix::Random(20, 64, {.bits = 4, .group = 32}, rng);
  const Matrix<float> clean = NormalMatrix(20, 64, rng);
  for (const float bad : {testing::kInfinity, -testing::kInfinity, testing::kNan}) {
    Matrix<float> x = NormalMatrix(20, 64, rng);
    std::copy_n(clean.data(), 20 * 64, x.data());
    x(6, 63) = bad;
    for (const Format& format : {kFloats, kBytes}) {
      for (const Isa isa : testing::AvailableIsas()) {
        const Matrix<float> y = Product(w, x.view(), format, isa);
        const Matrix<float> expected = Product(w, clean.view(), format, isa);
        for (size_t t = 0; t < 20; ++t) {
          if (t != 6) REQUIRE(testing::SameBits(y.view().row_span(t), expected.view().row_span(t)));
        }
        for (size_t o = 0; o < 20; ++o) REQUIRE(std::isnan(y(6, o)));
      }
    }
  }
}

TEST_CASE("zeros, smallest numbers and scales of 0 give finite results") {
  Rng rng(9);
  const TiledMatrix w = TiledMatrix::Random(16, 64, {.bits = 4, .group = 32}, rng);
  PackedMatrix dead(16, 64, {.bits = 4, .group = 32});  // every scale 0
  for (const float value : {0.0f, -0.0f, std::numeric_limits<float>::denorm_min(), 1e-38f}) {
    Matrix<float> x(1, 64);
    std::fill_n(x.data(), 64, value);
    for (const Format& format : {kFloats, kBytes}) {
      CheckAllIsas(w, x.view(), format);
      const Matrix<float> result = Product(w, x.view(), format, ActiveIsa());
      for (const float y : All(result)) CHECK(std::fabs(y) <= 1e-35f);
    }
  }
  const Matrix<float> x = NormalMatrix(2, 64, rng);
  const Matrix<float> result = Product(TiledMatrix(dead), x.view(), kFloats, ActiveIsa());
  for (const float y : All(result)) CHECK(y == 0);
}

// The digits of a token's activations, as they lie in memory.
std::vector<int8_t> Digits(const TiledMatrix& w, MatrixView<const float> token,
                           const Format& format, Isa isa) {
  QuantizedInputs inputs;
  inputs.Pack(token, format, w, isa);
  const QgemmInputs& plain = inputs.plain();
  return {plain.values, plain.values + plain.digits * token.cols()};
}

// Activations as near to the middle of two codes as FP32 numbers are, and their neighbours; the
// first is the token's largest.
Matrix<float> Ties(float absmax, float limit, Rng& rng) {
  Matrix<float> x(1, 192);
  x(0, 0) = absmax;
  const float scale = absmax / limit;
  for (size_t i = 1; i + 3 <= x.cols(); i += 3) {
    const double code = std::floor((2 * rng.Uniform() - 1) * (static_cast<double>(limit) - 1));
    const float middle = static_cast<float>((code + 0.5) * static_cast<double>(scale));
    x(0, i) = middle;
    x(0, i + 1) = std::nextafter(middle, absmax);
    x(0, i + 2) = std::nextafter(middle, -absmax);
  }
  return x;
}

TEST_CASE("codes are those of a division, also between two of them and at any scale", "[any_isa]") {
  Rng rng(14);
  const TiledMatrix w = TiledMatrix::Random(1, 192, {.bits = 4, .group = 64}, rng);
  const Format fixed = ActivationFormat{.per_token = false, .static_scale = 0.3f};
  for (int round = 0; round < 400; ++round) {
    const int exponent = static_cast<int>(rng.Uniform() * 250) - 125;
    const float absmax = static_cast<float>(std::ldexp(1 + rng.Uniform(), exponent));
    for (const Format& format : {kFloats, kBytes, fixed}) {
      const Matrix<float> x = Ties(absmax, format ? 127 : kWideLimit, rng);
      const std::vector<int8_t> expected = Digits(w, x.view(), format, Isa::kScalar);
      for (const Isa isa : testing::AvailableIsas()) {
        INFO(IsaName(isa) << ", absmax " << absmax);
        CHECK(Digits(w, x.view(), format, isa) == expected);
      }
    }
  }
}

TEST_CASE("static and whole-window scales are those of the simulated path") {
  Rng rng(10);
  const TiledMatrix w = TiledMatrix::Random(16, 64, {.bits = 8, .group = 64}, rng);
  const PackedMatrix packed = w.Unpack();
  const Matrix<float> x = NormalMatrix(3, 64, rng);
  const Format fixed = ActivationFormat{.per_token = false, .static_scale = 0.01f};
  const Format whole = ActivationFormat{.per_token = false};
  const float absmax = LargestOf(All(x));
  for (size_t t = 0; t < 3; ++t) {
    CHECK(Product(w, x.view(), fixed, ActiveIsa())(t, 5) ==  // cuts what is beyond 1.27
          QgemmDefinition(packed, x.view().row_span(t), 0.01f, 127, 5));
    CHECK(Product(w, x.view(), whole, ActiveIsa())(t, 5) ==
          QgemmDefinition(packed, x.view().row_span(t), absmax / 127, 127, 5));
  }
  CheckAllIsas(w, x.view(), fixed);
  CheckAllIsas(w, x.view(), whole);
}

TEST_CASE("permuted columns meet their activations") {
  Rng rng(11);
  PackedMatrix packed = TiledMatrix::Random(16, 96, {.bits = 4, .group = 32}, rng).Unpack();
  std::vector<uint32_t> order(96);
  std::iota(order.begin(), order.end(), 0u);
  Shuffle(std::span(order), rng);
  packed.set_order(order);
  const Matrix<float> x = NormalMatrix(2, 96, rng);
  const Matrix<float> y = Product(TiledMatrix(packed), x.view(), kBytes, ActiveIsa());
  for (size_t t = 0; t < 2; ++t) {
    const float scale = LargestOf(x.view().row_span(t)) / 127;
    CHECK(y(t, 9) == QgemmDefinition(packed, x.view().row_span(t), scale, 127, 9));
  }
}

TEST_CASE("packing by several threads gives the same") {
  Rng rng(13);
  PackedMatrix packed = TiledMatrix::Random(16, 64, {.bits = 4, .group = 32}, rng).Unpack();
  std::vector<uint32_t> order(64);
  std::iota(order.begin(), order.end(), 0u);
  Shuffle(std::span(order), rng);
  packed.set_order(order);
  const TiledMatrix w(packed);
  const Matrix<float> x = NormalMatrix(40, 64, rng);
  Team team(3);
  QuantizedInputs inputs;
  inputs.Pack(x.view(), kFloats, w, ActiveIsa(), &team);
  Matrix<float> y(40, 16);
  Matrix<uint8_t> scratch;
  MultiplyQuantized(inputs, w, 0, 16, y.view(), scratch);
  CHECK(testing::SameBits(All(y), All(Product(w, x.view(), kFloats, ActiveIsa()))));
}

TEST_CASE("packing reads no activation beyond its token's", "[any_isa]") {
  Rng rng(12);
  for (const size_t cols : testing::NastySizes()) {
    const TiledMatrix w =
        TiledMatrix::Random(1, cols, {.bits = 4, .granularity = Granularity::kRow}, rng);
    testing::GuardedArray<float> x(testing::NormalFloats(cols, 1, rng));
    for (const Isa isa : testing::AvailableIsas()) {
      QuantizedInputs inputs;
      inputs.Pack({x.data(), 1, cols}, kFloats, w, isa);
      CHECK(inputs.plain().tokens == 1);
    }
  }
}

}  // namespace
}  // namespace quantref
