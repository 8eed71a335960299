#include "harness/kernels/tiled_matrix.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <iterator>
#include <numeric>

#include "harness/kernels/kernels_testing.h"
#include "harness/kernels/panel_layout.h"
#include "harness/quant/format.h"
#include "harness/quant/grid.h"
#include "harness/quant/quant_testing.h"

namespace quantref {
namespace {

// Random codes, scales and zero points; every code of the format occurs in a large one.
PackedMatrix RandomPacked(size_t rows, size_t cols, const WeightScheme& scheme, Rng& rng) {
  PackedMatrix packed(rows, cols, scheme);
  std::vector<uint8_t> codes(cols);
  for (size_t r = 0; r < rows; ++r) {
    for (uint8_t& code : codes) code = static_cast<uint8_t>(rng.Below(1u << scheme.bits));
    packed.SetCodes(r, codes);
  }
  for (size_t r = 0; r < packed.scale_rows(); ++r) {
    for (size_t c = 0; c < packed.scale_cols(); ++c) {
      const int zero = scheme.symmetric ? 1 << (scheme.bits - 1)
                                        : static_cast<int>(rng.Below(1u << scheme.bits));
      packed.set_affine(r, c, {static_cast<float>(1 + rng.Below(64)) / 1024, zero});
    }
  }
  return packed;
}

std::vector<uint32_t> RandomOrder(size_t cols, Rng& rng) {
  std::vector<uint32_t> order(cols);
  std::iota(order.begin(), order.end(), 0u);
  Shuffle(std::span(order), rng);
  return order;
}

void CheckSame(const TiledMatrix& tiled, const PackedMatrix& packed) {
  CHECK(tiled.Unpack().Sha256() == packed.Sha256());
  CHECK(tiled.StorageBits() == packed.StorageBits());
  Matrix<float> decoded(packed.rows(), packed.cols());
  tiled.DecodeRows(0, decoded.view());
  std::vector<float> row(packed.cols());
  for (size_t r = 0; r < packed.rows(); ++r) {
    packed.DecodeRow(r, row);
    REQUIRE(testing::SameBits(decoded.view().row_span(r), row));
  }
}

TEST_CASE("the kernels' layout holds what the reference layout holds, both ways") {
  Rng rng(1);
  for (int bits = kMinBits; bits <= kMaxBits; ++bits) {
    for (const bool symmetric : {false, true}) {
      for (const size_t rows : {1, 15, 16, 17, 33}) {
        for (const size_t group : {1, 8, 31, 32, 33, 64, 96, 128}) {
          CAPTURE(bits, symmetric, rows, group);
          const WeightScheme scheme{.bits = bits, .group = group, .symmetric = symmetric};
          const PackedMatrix packed = RandomPacked(rows, 3 * group, scheme, rng);
          CheckSame(TiledMatrix(packed), packed);
        }
      }
    }
  }
}

TEST_CASE("the kernels' layout holds groups that do not divide, and no more than their steps") {
  Rng rng(5);
  for (int bits = kMinBits; bits <= kMaxBits; ++bits) {
    for (const auto& [cols, group] : testing::kRaggedSizes) {
      CAPTURE(bits, cols, group);
      const WeightScheme scheme{.bits = bits, .group = group};
      PackedMatrix packed = RandomPacked(18, cols, scheme, rng);
      CheckSame(TiledMatrix(packed), packed);
      packed.set_order(RandomOrder(cols, rng));
      const TiledMatrix tiled(packed);
      CheckSame(tiled, packed);
      CHECK(TiledMatrix::BytesOf(18, cols, scheme) == tiled.bytes());
    }
  }
  // 576 inputs in groups of 128 take no more than 576: nine steps of 64 and five scales.
  const TiledMatrix smollm = TiledMatrix::Random(16, 576, {}, rng);
  CHECK(smollm.plain().scales_at == 576 * 16 / 2);
  CHECK(smollm.plain().panel_bytes == 576 * 16 / 2 + 5 * 16 * 3 + 16);  // filled to 64 bytes
}

TEST_CASE("scales by row or for the whole, and permuted columns, keep their meaning") {
  Rng rng(2);
  for (const Granularity granularity : {Granularity::kRow, Granularity::kTensor}) {
    for (const size_t cols : testing::NastySizes()) {
      CAPTURE(GranularityName(granularity), cols);
      const WeightScheme scheme{.bits = 3, .granularity = granularity};
      PackedMatrix packed = RandomPacked(18, cols, scheme, rng);
      packed.set_order(RandomOrder(cols, rng));
      CheckSame(TiledMatrix(packed), packed);
    }
  }
}

TEST_CASE("the kernels' layout keeps the scales' power of two") {
  Rng rng(4);
  for (const int exponent : {-3, -40, kMostExponent, -kMostExponent}) {
    CAPTURE(exponent);
    PackedMatrix packed = RandomPacked(18, 64, {.bits = 4, .group = 32}, rng);
    packed.set_exponent(exponent);
    CheckSame(TiledMatrix(packed), packed);
  }
}

TEST_CASE("codes lie where the kernels read them") {
  // 32 inputs in one block: output i, input 4 r + j at byte 4 i + j of row r.
  PackedMatrix packed(16, 32, {.bits = 4, .granularity = Granularity::kRow});
  std::vector<uint8_t> codes(32, 0);
  codes[4 * 5 + 2] = 9;  // row 5, an odd one: high nibbles
  packed.SetCodes(3, codes);
  packed.set_affine(3, 0, {0.5f, 7});
  const TiledMatrix tiled(packed);
  const QgemmWeights& w = tiled.plain();
  REQUIRE(w.step == 32);
  REQUIRE(w.steps == 1);
  for (size_t i = 0; i < w.scales_at; ++i)
    CHECK(w.panels[i] == (i == 2 * 64 + 4 * 3 + 2 ? 9 << 4 : 0));
  CHECK(w.panels[w.zeros_at + 3] == 7);
  CHECK(w.panels[w.scales_at + 2 * 3 + 1] == 0x38);  // 0.5 is 0x3800
}

TEST_CASE("the kernels take every granularity but scales by column, and groups that fit 32 bits") {
  const auto supports = [](size_t cols, Granularity granularity) {
    return TiledMatrix::Supports({.granularity = granularity}, cols);
  };
  CHECK(supports(128, Granularity::kGroup));
  CHECK(supports(kMaxGroup, Granularity::kRow));
  CHECK(supports(5, Granularity::kTensor));
  CHECK_FALSE(supports(128, Granularity::kColumn));
  CHECK_FALSE(supports(kMaxGroup + 1, Granularity::kRow));
  CHECK(TiledMatrix::Supports({.group = kMaxGroup + 1}, 128));  // one group of 128
  CHECK_FALSE(TiledMatrix::Supports({.group = kMaxGroup + 1}, kMaxGroup + 1));
  CHECK(TiledMatrix::Supports(SchemeOf(testing::kUneven), 128));
  CHECK_FALSE(TiledMatrix::Supports(SchemeOf(testing::kWide), 128));  // eight levels
  CHECK_FALSE(TiledMatrix::Supports(SchemeOf(*FindFormat("fp8_e4m3")), 128));
  CHECK(TiledMatrix::Supports(SchemeOf(*FindFormat("float_zero")), 128));
}

// Random codes, those of -0 among them, and scales of every kind.
TEST_CASE("the kernels' layout holds formats with tables, both ways") {
  Rng rng(6);
  for (const char* name : {"nf4", "fp4", "mxfp4", "nvfp4"}) {
    for (const bool double_quant : {false, true}) {
      WeightScheme scheme = SchemeOf(*FindFormat(name));
      if (double_quant && !scheme.format->allows_double_quant()) continue;
      scheme.double_quant = double_quant;
      for (const size_t rows : {1, 16, 33}) {
        for (const size_t cols : testing::NastySizes()) {
          CAPTURE(name, double_quant, rows, cols);
          PackedMatrix packed = TiledMatrix::Random(rows, cols, scheme, rng).Unpack();
          CheckSame(TiledMatrix(packed), packed);
          packed.set_order(RandomOrder(cols, rng));
          CheckSame(TiledMatrix(packed), packed);
          CHECK(TiledMatrix::BytesOf(rows, cols, scheme) == TiledMatrix(packed).bytes());
        }
      }
    }
  }
}

// Zero points between codes and far from them.
TEST_CASE("the kernels' layout holds zero points that are no codes, both ways") {
  Rng rng(8);
  for (int bits = kMinBits; bits <= kMaxBits; ++bits) {
    for (const auto& [cols, group] : testing::kRaggedSizes) {
      CAPTURE(bits, cols, group);
      WeightScheme scheme = SchemeOf(*FindFormat("float_zero"));
      scheme.bits = bits;
      scheme.group = group;
      PackedMatrix packed = TiledMatrix::Random(18, cols, scheme, rng).Unpack();
      CheckSame(TiledMatrix(packed), packed);
      const float zeros[] = {-3.25f, 0, -0.0f, -1e-9f, 0.5f, 1.625f, 300.5f, -0.0001f, 1e4f};
      for (size_t row = 0; row < 18; ++row) {
        for (size_t g = 0; g < packed.scale_cols(); ++g)
          packed.set_grid(row, g, RoundedGrid(0.25f, zeros[(row + g) % std::size(zeros)], scheme));
      }
      packed.set_exponent(-20);
      CheckSame(TiledMatrix(packed), packed);
    }
  }
}

TEST_CASE("the kernels' layout holds ternary codes, both ways") {
  Rng rng(9);
  const WeightScheme scheme = SchemeOf(*FindFormat("ternary"));
  for (const size_t cols : testing::NastySizes()) {
    CAPTURE(cols);
    PackedMatrix packed = TiledMatrix::Random(18, cols, scheme, rng).Unpack();
    std::vector<uint8_t> codes(cols);
    packed.GetCodes(7, codes);
    for (const uint8_t code : codes) REQUIRE(code != 2);
    CheckSame(TiledMatrix(packed), packed);
    packed.set_order(RandomOrder(cols, rng));
    packed.set_exponent(-9);
    CheckSame(TiledMatrix(packed), packed);
  }
}

TEST_CASE("levels that are whole numbers are looked up, in whole blocks; others are a codebook") {
  const auto form = [](const char* name) { return FormOf(SchemeOf(*FindFormat(name))); };
  CHECK(form("int") == CodeForm::kPlain);
  CHECK(form("mxfp4") == CodeForm::kLooked);
  CHECK(form("nvfp4") == CodeForm::kCodebook);  // groups of 16
  CHECK(form("nf4") == CodeForm::kCodebook);
  CHECK(form("float_zero") == CodeForm::kPlain);
  CHECK(form("ternary") == CodeForm::kPlain);
  CHECK(form("fp4") == CodeForm::kCodebook);
  Rng rng(7);
  const TiledMatrix tiled = TiledMatrix::Random(16, 64, SchemeOf(*FindFormat("mxfp4")), rng);
  const uint8_t twice[] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};
  for (size_t c = 0; c < 16; ++c) CHECK(tiled.plain().look_up[c] == twice[c]);
  CHECK(tiled.plain().panels[tiled.plain().zeros_at] == 12);
}

TEST_CASE("random matrices are quantized matrices of their format") {
  Rng rng(3);
  for (int bits = kMinBits; bits <= kMaxBits; ++bits) {
    const WeightScheme scheme{.bits = bits, .group = 64};
    const TiledMatrix tiled = TiledMatrix::Random(33, 192, scheme, rng);
    CHECK(tiled.plain().bits == (bits > 4 ? 8 : bits));
    const PackedMatrix packed = tiled.Unpack();  // would refuse codes out of range
    CheckSame(tiled, packed);
    std::vector<uint8_t> codes(192);
    packed.GetCodes(32, codes);
    CHECK(*std::max_element(codes.begin(), codes.end()) < 1 << bits);
    CHECK(*std::max_element(codes.begin(), codes.end()) >
          *std::min_element(codes.begin(), codes.end()));
    CHECK(packed.affine(32, 2).scale > 0);
  }
}

}  // namespace
}  // namespace quantref
