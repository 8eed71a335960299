#include "harness/quant/packed_matrix.h"

#include <array>
#include <catch2/catch.hpp>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "harness/base/half.h"
#include "harness/base/rng.h"
#include "harness/quant/affine.h"
#include "harness/quant/format.h"

namespace quantref {
namespace {

using Codes = std::vector<uint8_t>;

std::vector<size_t> NastyWidths() {
  std::vector<size_t> widths;
  for (size_t cols = 1; cols <= 17; ++cols) widths.push_back(cols);
  for (size_t cols : {31, 32, 33, 127, 128, 129}) widths.push_back(cols);
  return widths;
}

Codes RandomCodes(size_t count, int bits, Rng& rng) {
  Codes codes(count);
  for (uint8_t& code : codes) code = static_cast<uint8_t>(rng.Below(uint64_t{1} << bits));
  return codes;
}

Codes GetCodes(const PackedMatrix& matrix, size_t row) {
  Codes codes(matrix.cols(), 0xee);
  matrix.GetCodes(row, codes);
  return codes;
}

TEST_CASE("packed_matrix: codes survive, whatever the width", "[packed_matrix]") {
  constexpr size_t kRows = 3;
  Rng rng(1);
  for (int bits = kMinBits; bits <= kMaxBits; ++bits) {
    for (size_t cols : NastyWidths()) {
      PackedMatrix matrix(kRows, cols, {.bits = bits, .granularity = Granularity::kRow});
      std::array<Codes, kRows> rows;
      // Twice, the second time over the first: old codes must not shine through.
      for (int pass = 0; pass < 2; ++pass) {
        for (size_t r : {2, 0, 1}) {
          rows[r] = RandomCodes(cols, bits, rng);
          matrix.SetCodes(r, rows[r]);
        }
      }
      INFO(bits << " bits, " << cols << " columns");
      for (size_t r = 0; r < kRows; ++r) CHECK(GetCodes(matrix, r) == rows[r]);
    }
  }
}

TEST_CASE("packed_matrix: the largest codes do not spill", "[packed_matrix]") {
  for (int bits = kMinBits; bits <= kMaxBits; ++bits) {
    const uint8_t top = static_cast<uint8_t>((1 << bits) - 1);
    for (size_t cols : NastyWidths()) {
      PackedMatrix matrix(3, cols, {.bits = bits, .granularity = Granularity::kTensor});
      matrix.SetCodes(1, Codes(cols, top));
      INFO(bits << " bits, " << cols << " columns");
      CHECK(GetCodes(matrix, 0) == Codes(cols, 0));
      CHECK(GetCodes(matrix, 1) == Codes(cols, top));
      CHECK(GetCodes(matrix, 2) == Codes(cols, 0));
    }
  }
}

TEST_CASE("packed_matrix: codes fill bytes from the least significant bit", "[packed_matrix]") {
  // 1 + 2 * 2^3 + 5 * 2^6 + 7 * 2^9 = 0x0f51
  PackedMatrix three(2, 4, {.bits = 3, .granularity = Granularity::kRow});
  three.SetCodes(1, Codes{1, 2, 5, 7});
  CHECK(three.packed_row(1) == three.packed_row(0) + 2);
  CHECK(three.packed_row(1)[0] == 0x51);
  CHECK(three.packed_row(1)[1] == 0x0f);

  PackedMatrix four(1, 3, {.bits = 4, .granularity = Granularity::kRow});
  four.SetCodes(0, Codes{0x1, 0xa, 0xf});
  CHECK(four.packed_row(0)[0] == 0xa1);
  CHECK(four.packed_row(0)[1] == 0x0f);

  PackedMatrix eight(1, 2, {.bits = 8, .granularity = Granularity::kRow});
  eight.SetCodes(0, Codes{0x12, 0xfe});
  CHECK(eight.packed_row(0)[0] == 0x12);
  CHECK(eight.packed_row(0)[1] == 0xfe);
}

TEST_CASE("packed_matrix: eight bytes beyond the last row may be read", "[packed_matrix]") {
  const PackedMatrix matrix(2, 5, {.bits = 3, .granularity = Granularity::kRow});
  const uint8_t* end = matrix.packed_row(1) + 2;
  unsigned sum = 0;
  for (int i = 0; i < 8; ++i) sum += end[i];
  CHECK(sum == 0);
}

TEST_CASE("packed_matrix: a new matrix is all zero", "[packed_matrix]") {
  const PackedMatrix matrix(2, 4, {.group = 2});
  CHECK(matrix.rows() == 2);
  CHECK(matrix.cols() == 4);
  CHECK(matrix.scheme() == WeightScheme{.group = 2});
  CHECK(GetCodes(matrix, 1) == Codes(4, 0));
  CHECK(matrix.affine(1, 1).scale == 0);
  CHECK(matrix.affine(1, 1).zero == 0);
  std::vector<float> values(4, 9.0f);
  matrix.DecodeRow(0, values);
  CHECK(values == std::vector<float>(4, 0.0f));
}

TEST_CASE("packed_matrix: the grid of scales of every granularity", "[packed_matrix]") {
  const auto grid = [](Granularity granularity, size_t group) {
    const PackedMatrix m(6, 8, {.granularity = granularity, .group = group});
    return std::vector<size_t>{m.scale_rows(), m.scale_cols(), m.scales().rows_each,
                               m.scales().cols_each};
  };
  CHECK(grid(Granularity::kTensor, 128) == std::vector<size_t>{1, 1, 6, 8});
  CHECK(grid(Granularity::kRow, 128) == std::vector<size_t>{6, 1, 1, 8});
  CHECK(grid(Granularity::kColumn, 128) == std::vector<size_t>{1, 8, 6, 1});
  CHECK(grid(Granularity::kGroup, 4) == std::vector<size_t>{6, 2, 1, 4});
  CHECK(grid(Granularity::kGroup, 3) == std::vector<size_t>{6, 3, 1, 3});
  CHECK(grid(Granularity::kGroup, 128) == std::vector<size_t>{6, 1, 1, 8});
}

TEST_CASE("packed_matrix: scales and zeros are where they were put", "[packed_matrix]") {
  PackedMatrix asymmetric(3, 8, {.bits = 8, .group = 2});
  PackedMatrix symmetric(3, 8, {.bits = 8, .group = 2, .symmetric = true});
  for (size_t r = 0; r < 3; ++r) {
    for (size_t s = 0; s < 4; ++s) {
      const float scale = static_cast<float>(r * 4 + s) + 0.5f;
      asymmetric.set_affine(r, s, {scale, static_cast<int>(255 - 4 * r - s)});
      symmetric.set_affine(r, s, {scale, 128});
    }
  }
  for (size_t r = 0; r < 3; ++r) {
    for (size_t s = 0; s < 4; ++s) {
      const float scale = static_cast<float>(r * 4 + s) + 0.5f;
      CHECK(asymmetric.affine(r, s).scale == scale);
      CHECK(asymmetric.affine(r, s).zero == static_cast<int>(255 - 4 * r - s));
      CHECK(symmetric.affine(r, s).scale == scale);
      CHECK(symmetric.affine(r, s).zero == 128);
    }
  }
}

TEST_CASE("packed_matrix: rows decode with the scale of their place", "[packed_matrix]") {
  PackedMatrix matrix(2, 4, {.bits = 4, .group = 2});
  matrix.set_affine(0, 0, {0.5f, 8});
  matrix.set_affine(0, 1, {2.0f, 0});
  matrix.set_affine(1, 0, {1.0f, 15});
  matrix.set_affine(1, 1, {0.25f, 1});
  matrix.SetCodes(0, Codes{0, 9, 3, 15});
  matrix.SetCodes(1, Codes{15, 0, 1, 5});
  std::vector<float> values(4);
  matrix.DecodeRow(0, values);
  CHECK(values == std::vector<float>{-4.0f, 0.5f, 6.0f, 30.0f});
  matrix.DecodeRow(1, values);
  CHECK(values == std::vector<float>{0.0f, -15.0f, 0.0f, 1.0f});

  PackedMatrix column(2, 2, {.bits = 2, .granularity = Granularity::kColumn, .symmetric = true});
  column.set_affine(0, 0, {1.0f, 2});
  column.set_affine(0, 1, {8.0f, 2});
  column.SetCodes(1, Codes{1, 3});
  std::vector<float> pair(2);
  column.DecodeRow(1, pair);
  CHECK(pair == std::vector<float>{-1.0f, 8.0f});
}

TEST_CASE("packed_matrix: with an order, positions decode to the columns that it names",
          "[packed_matrix]") {
  PackedMatrix matrix(1, 4, {.bits = 4, .group = 2});
  matrix.set_affine(0, 0, {0.5f, 8});
  matrix.set_affine(0, 1, {2.0f, 0});
  matrix.SetCodes(0, Codes{0, 9, 3, 15});
  CHECK(matrix.order().empty());
  matrix.set_order({2, 0, 3, 1});
  CHECK(std::vector<uint32_t>(matrix.order().begin(), matrix.order().end()) ==
        std::vector<uint32_t>{2, 0, 3, 1});
  CHECK(GetCodes(matrix, 0) == Codes{0, 9, 3, 15});  // by position, as they were put
  std::vector<float> values(4);
  matrix.DecodeRow(0, values);
  CHECK(values == std::vector<float>{0.5f, 30.0f, -4.0f, 6.0f});
  matrix.set_order({});
  matrix.DecodeRow(0, values);
  CHECK(values == std::vector<float>{-4.0f, 0.5f, 6.0f, 30.0f});
}

TEST_CASE("packed_matrix: effective bits count scales, zeros and padding", "[packed_matrix]") {
  // int4 g128: a code a weight, and for each 128 of them a 16-bit scale and a 4-bit zero point.
  CHECK(PackedMatrix(3, 256, {}).EffectiveBits() == 4 + (16 + 4) / 128.0);
  CHECK(PackedMatrix(3, 256, {.symmetric = true}).EffectiveBits() == 4 + 16 / 128.0);
  CHECK(PackedMatrix(3, 256, {.bits = 3, .group = 64}).EffectiveBits() == 3 + (16 + 3) / 64.0);
  const PackedMatrix row(3, 256, {.bits = 8, .granularity = Granularity::kRow, .symmetric = true});
  CHECK(row.StorageBits() == 3 * (256 * 8 + 16));
  CHECK(PackedMatrix(4, 8, {.granularity = Granularity::kTensor}).StorageBits() == 128 + 16 + 4);
  CHECK(PackedMatrix(4, 8, {.granularity = Granularity::kColumn}).StorageBits() == 128 + 8 * 20);
  // 5 codes of 3 bits take 2 bytes.
  const WeightScheme three{.bits = 3, .granularity = Granularity::kRow, .symmetric = true};
  CHECK(PackedMatrix(7, 5, three).StorageBits() == 7 * (2 * 8 + 16));
  // An order of 5 columns takes 3 bits for each.
  PackedMatrix ordered(7, 5, three);
  ordered.set_order({4, 3, 2, 1, 0});
  CHECK(ordered.StorageBits() == 7 * (2 * 8 + 16) + 5 * 3);
}

TEST_CASE("packed_matrix: the text of a scheme in hashes stays, whatever tables call it",
          "[packed_matrix]") {
  CHECK(HashedScheme({}) == "int4 g128 asym");
  CHECK(HashedScheme({.bits = 3, .group = 64, .symmetric = true}) == "int3 g64 sym");
  CHECK(HashedScheme({.bits = 2, .group = 1, .symmetric = true, .full_range = true}) ==
        "int2 g1 sym full");
  CHECK(HashedScheme({.bits = 8, .granularity = Granularity::kRow, .zero_in_range = false}) ==
        "int8 row asym min-max");
  CHECK(HashedScheme({.bits = 5, .granularity = Granularity::kColumn}) == "int5 column asym");
  CHECK(HashedScheme({.granularity = Granularity::kTensor, .symmetric = true}) ==
        "int4 tensor sym");
  // What does not count does not show.
  CHECK(HashedScheme({.granularity = Granularity::kRow, .group = 7, .full_range = true}) ==
        "int4 row asym");
  CHECK(HashedScheme({.symmetric = true, .zero_in_range = false}) == "int4 g128 sym");
  // By Python's hashlib: the 16 levels of E2M1 as little-endian FP32.
  const WeightScheme mxfp4 = SchemeOf(*FindFormat("mxfp4"));
  CHECK(HashedScheme(mxfp4) ==
        "mxfp4 g32 e8m0 c736c7e2e761e08975d601fab3563265be14d8df46628e596c0989b97735b5f5");
  CHECK(HashedScheme(SchemeOf(*FindFormat("float_zero"))) == "float_zero4 g64 fp16");
}

TEST_CASE("packed_matrix: so does that of what stays in its file", "[packed_matrix]") {
  CHECK(HashedForm({}) == "int4 g128 asym");
  CHECK(HashedForm({.bits = 3, .granularity = Granularity::kRow, .symmetric = true}) ==
        "int3 row sym");
  WeightScheme nf4 = SchemeOf(*FindFormat("nf4"));
  CHECK(HashedForm(nf4) == "nf4 g64");
  nf4.double_quant = true;
  CHECK(HashedForm(nf4) == "nf4 g64 dq");
  CHECK(HashedForm(SchemeOf(*FindFormat("fp8_e4m3"))) == "fp8_e4m3 row");
}

// 2 x 4, with all codes, scales and zeros set.
PackedMatrix HashedExample() {
  PackedMatrix matrix(2, 4, {.bits = 4, .group = 2});
  matrix.SetCodes(0, Codes{1, 2, 3, 4});
  matrix.SetCodes(1, Codes{15, 0, 7, 8});
  matrix.set_affine(0, 0, {1.0f, 0});
  matrix.set_affine(0, 1, {0.5f, 7});
  matrix.set_affine(1, 0, {2.0f, 15});
  matrix.set_affine(1, 1, {0.25f, 8});
  return matrix;
}

TEST_CASE("packed_matrix: the hash is that of the documented bytes", "[packed_matrix]") {
  // By Python's hashlib: "2 4 int4 g2 asym\n", 21 43 0f 87, the scales as little-endian FP16, 00 07
  // 0f 08.
  CHECK(HashedExample().Sha256() ==
        "90b874df1472c0cdf156eb22d997b91a399d17af95de88b317a95caf904c1f5f");
}

TEST_CASE("packed_matrix: the hash changes with any code, scale, zero and order",
          "[packed_matrix]") {
  std::set<std::string> hashes = {HashedExample().Sha256()};
  size_t variants = 1;
  const auto add = [&](const PackedMatrix& matrix) {
    hashes.insert(matrix.Sha256());
    ++variants;
  };
  for (size_t r = 0; r < 2; ++r) {
    for (size_t c = 0; c < 4; ++c) {
      PackedMatrix matrix = HashedExample();
      Codes codes = GetCodes(matrix, r);
      codes[c] ^= 1;
      matrix.SetCodes(r, codes);
      add(matrix);
    }
    for (size_t s = 0; s < 2; ++s) {
      PackedMatrix matrix = HashedExample();
      const Affine affine = matrix.affine(r, s);
      const uint16_t next_scale = static_cast<uint16_t>(FloatToHalf(affine.scale) + 1);
      matrix.set_affine(r, s, {HalfToFloat(next_scale), affine.zero});
      add(matrix);
      matrix.set_affine(r, s, {affine.scale, affine.zero ^ 1});
      add(matrix);
    }
  }
  for (const std::vector<uint32_t>& order : {std::vector<uint32_t>{0, 2, 1, 3}, {2, 3, 0, 1}}) {
    PackedMatrix matrix = HashedExample();
    matrix.set_order(order);
    add(matrix);
  }
  CHECK(variants == 1 + 8 + 4 + 4 + 2);
  CHECK(hashes.size() == variants);
}

TEST_CASE("packed_matrix: where columns stand within their group does not change the hash",
          "[packed_matrix]") {
  const auto with = [](const std::vector<uint32_t>& order, const Codes& first,
                       const Codes& second) {
    PackedMatrix matrix = HashedExample();
    matrix.SetCodes(0, first);
    matrix.SetCodes(1, second);
    matrix.set_order(order);
    return matrix;
  };
  const std::string in_place = HashedExample().Sha256();
  CHECK(with({0, 1, 2, 3}, {1, 2, 3, 4}, {15, 0, 7, 8}).Sha256() == in_place);
  CHECK(with({1, 0, 3, 2}, {2, 1, 4, 3}, {0, 15, 8, 7}).Sha256() == in_place);
  CHECK(with({1, 0, 2, 3}, {1, 2, 3, 4}, {15, 0, 7, 8}).Sha256() != in_place);  // other numbers
  const std::string moved = with({2, 3, 0, 1}, {1, 2, 3, 4}, {15, 0, 7, 8}).Sha256();
  CHECK(moved != in_place);
  CHECK(with({3, 2, 0, 1}, {2, 1, 3, 4}, {0, 15, 7, 8}).Sha256() == moved);
}

TEST_CASE("packed_matrix: the hash changes with shape and scheme alone", "[packed_matrix]") {
  std::set<std::string> hashes;
  hashes.insert(PackedMatrix(2, 4, {.group = 4}).Sha256());
  hashes.insert(PackedMatrix(4, 2, {.group = 2}).Sha256());
  hashes.insert(PackedMatrix(1, 8, {.group = 8}).Sha256());
  hashes.insert(PackedMatrix(2, 4, {.granularity = Granularity::kRow}).Sha256());
  hashes.insert(PackedMatrix(2, 4, {.granularity = Granularity::kRow, .symmetric = true}).Sha256());
  hashes.insert(
      PackedMatrix(2, 4, {.granularity = Granularity::kRow, .zero_in_range = false}).Sha256());
  CHECK(hashes.size() == 6);
  CHECK(PackedMatrix(2, 4, {.group = 4}).Sha256() == PackedMatrix(2, 4, {.group = 4}).Sha256());
}

}  // namespace
}  // namespace quantref
