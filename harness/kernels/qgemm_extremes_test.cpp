#include <catch2/catch.hpp>
#include <vector>

#include "harness/kernels/qgemm_rows.h"
#include "harness/kernels/qgemm_testing.h"

// Codes, zero points and activations at their ends; arrays that end where no access may go on.

namespace quantref {
namespace {

using testing::CheckAllIsas;
using testing::Format;
using testing::kBytes;
using testing::kFloats;
using testing::Product;

TEST_CASE("sums are exact at the extremes of codes, zero points, activations and group size",
          "[any_isa]") {
  for (const bool high : {false, true}) {
    for (const float sign : {1.0f, -1.0f}) {
      PackedMatrix packed(16, kMaxGroup, {.bits = 8, .granularity = Granularity::kRow});
      const std::vector<uint8_t> codes(kMaxGroup, high ? 255 : 0);
      for (size_t r = 0; r < 16; ++r) {
        packed.SetCodes(r, codes);
        packed.set_affine(r, 0, {1, high ? 0 : 255});
      }
      const TiledMatrix w(packed);
      constexpr size_t kTokens = 17;  // enough for tiles; one alone goes another way
      Matrix<float> x(kTokens, kMaxGroup);
      std::fill_n(x.data(), kTokens * kMaxGroup, 127 * sign);
      const MatrixView<const float> all_tokens = x.view(), one_token = x.view().Rows(0, 1);
      for (const Isa isa : testing::AvailableIsas()) {
        CAPTURE(IsaName(isa), high, sign);
        const auto all = static_cast<float>(kMaxGroup * 127 * 255);
        for (const MatrixView<const float>& tokens : {one_token, all_tokens}) {
          const size_t last = tokens.rows() - 1;
          CHECK(Product(w, tokens, kBytes, isa)(last, 0) == (high ? sign : -sign) * all);
          // Digits of 127 each; the outer products are rounded to FP32 and no more.
          CHECK(Product(w, tokens, kFloats, isa)(last, 0) ==
                Approx((high ? sign : -sign) * all).epsilon(1e-6));
        }
      }
    }
  }
}

// Rows whose codes and zero points are at their ends, apart or together, or anywhere.
TiledMatrix ExtremeCodes(int bits, size_t cols, size_t group, Rng& rng) {
  const auto most = static_cast<uint8_t>((1 << bits) - 1);
  const auto any = [&] { return static_cast<uint8_t>(rng.Below(most + size_t{1})); };
  PackedMatrix packed(40, cols, {.bits = bits, .group = group});
  std::vector<uint8_t> codes(packed.cols());
  for (size_t r = 0; r < packed.rows(); ++r) {
    for (size_t k = 0; k < codes.size(); ++k) {
      const uint8_t ends[] = {0, most, k % 2 == 0 ? most : uint8_t{0}, any()};
      codes[k] = ends[r % 4];
    }
    packed.SetCodes(r, codes);
    for (size_t g = 0; g < packed.scale_cols(); ++g) {
      const uint8_t zeros[] = {most, 0, any()};
      packed.set_affine(r, g, {0.125f, zeros[r / 4 % 3]});
    }
  }
  return TiledMatrix(packed);
}

// Tokens whose digits are all at one end, alternate between both, or are -128 where they are low.
Matrix<float> ExtremeTokens(size_t tokens, size_t cols) {
  Matrix<float> x(tokens, cols);
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t k = 0; k < cols; ++k) {
      const bool even = k % 2 == 0;
      const float of_token[] = {kWideLimit, -kWideLimit, even ? kWideLimit : -kWideLimit,
                                even ? -128.0f : 128 - 256 * 128.0f};
      x(t, k) = of_token[t % 4];
    }
    x(t, 7) = kWideLimit;
  }
  return x;
}

TEST_CASE("every instruction set gives the scalar kernel's bits: extremes, on tiles too",
          "[any_isa]") {
  Rng rng(15);
  for (const int bits : {2, 3, 4, 8}) {
    for (const auto& [cols, group] :
         {testing::ColsAndGroup{64, 32}, {128, 64}, {192, 96}, {256, 128}, {200, 128}}) {
      const TiledMatrix w = ExtremeCodes(bits, cols, group, rng);
      for (const size_t tokens : {1, 5, 17, 40}) {
        for (const Format& format : {kFloats, kBytes})
          CheckAllIsas(w, ExtremeTokens(tokens, cols).view(), format);
      }
    }
  }
}

// Every array ends where a page does that may not be touched, and rows of y lie apart.
void CheckBounds(const TiledMatrix& w, size_t tokens, size_t digits, Isa isa, Rng& rng) {
  constexpr size_t kGap = 5;
  constexpr float kUntouched = 12345;
  const QgemmOps& ops = QgemmOpsFor(isa);
  QgemmWeights weights = w.plain();
  const size_t panels = (weights.rows + kPanelRows - 1) / kPanelRows, rows = tokens * digits;
  testing::GuardedArray<uint8_t> codes(std::span(weights.panels, panels * weights.panel_bytes));
  weights.panels = codes.data();
  testing::GuardedArray<int8_t> values(rows * RowTerms(weights));
  testing::GuardedArray<int32_t> sums(rows * weights.groups);
  testing::GuardedArray<float> scales(tokens);
  const QgemmInputs inputs = {values.data(), sums.data(), nullptr, scales.data(), tokens, digits};
  testing::GuardedArray<float> x(weights.cols);
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t k = 0; k < weights.cols; ++k) x.data()[k] = static_cast<float>(rng.Normal());
    ops.pack_token(x.data(), {digits == 1 ? 127 : kWideLimit, false, 0}, weights, inputs, t);
  }
  const size_t stride = weights.rows + kGap;
  testing::GuardedArray<float> y(std::vector<float>(tokens * stride - kGap, kUntouched));
  const Qgemm gemm = {weights, inputs, y.data(), stride};
  testing::GuardedArray<uint8_t> scratch((ops.scratch_bytes(gemm) + 63) / 64 * 64);
  ops.multiply(gemm, 0, panels, scratch.data());
  bool all_written = true, gaps_untouched = true;
  for (size_t i = 0; i < tokens * stride - kGap; ++i) {
    const bool untouched = y.data()[i] == kUntouched, is_gap = i % stride >= weights.rows;
    (is_gap ? gaps_untouched : all_written) &= untouched == is_gap;
  }
  REQUIRE(all_written);
  REQUIRE(gaps_untouched);
}

TEST_CASE("products touch nothing beyond their arrays", "[any_isa]") {
  Rng rng(16);
  for (const Isa isa : testing::AvailableIsas()) {
    for (const int bits : {2, 3, 4, 8}) {
      for (const size_t rows : {1, 16, 17, 33, 65}) {
        for (const auto& [cols, group] :
             {testing::ColsAndGroup{16, 8}, {64, 32}, {192, 96}, {100, 32}, {150, 128}}) {
          const TiledMatrix w =
              TiledMatrix::Random(rows, cols, {.bits = bits, .group = group}, rng);
          for (const size_t tokens : {1, 3, 5, 8, 9, 16, 17, 33}) {
            CAPTURE(IsaName(isa), bits, rows, cols, group, tokens);
            for (const size_t digits : {size_t{1}, kMaxDigits})
              CheckBounds(w, tokens, digits, isa, rng);
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace quantref
