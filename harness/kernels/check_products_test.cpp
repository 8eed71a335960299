#include "harness/kernels/check_products.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <limits>
#include <vector>

#include "harness/base/half.h"
#include "harness/kernels/kernels_testing.h"
#include "harness/kernels/qgemm.h"

namespace quantref {
namespace {

using testing::AvailableIsas;
using testing::NormalFloats;

constexpr std::optional<ActivationFormat> kFormats[] = {
    std::nullopt, ActivationFormat{8, true, {}}, ActivationFormat{8, false, {}},
    ActivationFormat{8, false, 0.02f}, ActivationFormat{4, true, {}}};

struct Case {
  Case(size_t tokens, size_t rows, size_t cols, int bits, Rng& rng)
      : w(TiledMatrix::Random(rows, cols, {.bits = bits, .group = 32}, rng)),
        values(NormalFloats(tokens * cols, 1, rng)),
        x(values.data(), tokens, cols),
        y(tokens, rows) {}
  void Run(const std::optional<ActivationFormat>& format, Isa isa) {
    QuantizedInputs inputs;
    Matrix<uint8_t> scratch;
    inputs.Pack(x, format, w, isa);
    MultiplyQuantized(inputs, w, 0, w.rows(), y.view(), scratch, isa);
  }
  TiledMatrix w;
  std::vector<float> values;
  MatrixView<const float> x;
  Matrix<float> y;
};

TEST_CASE("check_products: every kernel's result is the reference's", "[check_products]") {
  Rng rng(1);
  for (const auto& format : kFormats) {
    for (const size_t tokens : {1, 2, 19, 40}) {
      Case c(tokens, 75, 96, 4, rng);
      for (const Isa isa : AvailableIsas()) {
        c.Run(format, isa);
        CHECK(EqualsReference(c.x, format, c.w, c.y.view(), rng));
      }
    }
  }
}

TEST_CASE("check_products: a wrong product is found", "[check_products]") {
  Rng rng(2);
  for (const auto& format : kFormats) {
    Case c(20, 200, 64, 4, rng);
    c.Run(format, ActiveIsa());
    REQUIRE(EqualsReference(c.x, format, c.w, c.y.view(), rng));
    // Of other weights, of other activations, of another format, one output off by its last bit.
    const Case other(20, 200, 64, 4, rng);
    CHECK_FALSE(EqualsReference(c.x, format, other.w, c.y.view(), rng));
    CHECK_FALSE(EqualsReference(other.x, format, c.w, c.y.view(), rng));
    CHECK_FALSE(EqualsReference(c.x, ActivationFormat{3, true, {}}, c.w, c.y.view(), rng));
    c.y(19, 199) = std::nextafter(c.y(19, 199), std::numeric_limits<float>::infinity());
    CHECK_FALSE(EqualsReference(c.x, format, c.w, c.y.view(), rng));
  }
}

TEST_CASE("check_products: FP32 products within the bound, and one term less beyond it",
          "[check_products]") {
  Rng rng(3);
  constexpr size_t kTokens = 9, kRows = 40, kCols = 700;
  std::vector<uint16_t> halves(kRows * kCols);
  for (uint16_t& half : halves) half = FloatToHalf(static_cast<float>(rng.Normal()));
  const std::vector<float> values = NormalFloats(kTokens * kCols, 1, rng);
  const MatrixView<const float> x(values.data(), kTokens, kCols);
  const DenseRows w{halves.data(), DenseRows::Type::kFp16, kRows, kCols};
  Matrix<float> y(kTokens, kRows);
  MultiplyThin(x, w, y.view());
  CHECK(SampledError(x, w, y.view(), rng) <= ErrorBound(kCols));
  y(kTokens - 1, kRows - 1) -= 0.64f;  // the mean magnitude of a term
  CHECK(SampledError(x, w, y.view(), rng) > ErrorBound(kCols));
  y(kTokens - 1, kRows - 1) = std::numeric_limits<float>::quiet_NaN();
  CHECK(!(SampledError(x, w, y.view(), rng) <= ErrorBound(kCols)));
}

TEST_CASE("check_products: BF16 and FP32 weights, one token, one row", "[check_products]") {
  Rng rng(4);
  const std::vector<float> values = {1, 2, 3};
  const std::vector<uint16_t> ones = {0x3f80, 0x3f80, 0x3f80};
  const MatrixView<const float> x(values.data(), 1, 3);
  Matrix<float> y(1, 1);
  y(0, 0) = 6;
  CHECK(SampledError(x, {ones.data(), DenseRows::Type::kBf16, 1, 3}, y.view(), rng) == 0);
  y(0, 0) = 14;
  CHECK(SampledError(x, {values.data(), DenseRows::Type::kFp32, 1, 3}, y.view(), rng) == 0);
}

}  // namespace
}  // namespace quantref
