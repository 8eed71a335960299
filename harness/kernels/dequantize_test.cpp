#include "harness/kernels/dequantize.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <span>
#include <vector>

#include "harness/base/half.h"
#include "harness/base/matrix.h"
#include "harness/base/rng.h"
#include "harness/kernels/kernels_testing.h"
#include "harness/quant/grid.h"
#include "harness/quant/packed_matrix.h"
#include "harness/quant/quant_testing.h"

namespace quantref {
namespace {

constexpr size_t kRows = 5;

// Random codes, scales and zeros: more than rounding would give.
PackedMatrix RandomMatrix(size_t cols, const WeightScheme& scheme, Rng& rng) {
  PackedMatrix matrix(kRows, cols, scheme);
  const uint64_t levels = uint64_t{1} << scheme.bits;
  std::vector<uint8_t> codes(cols);
  for (size_t r = 0; r < kRows; ++r) {
    for (uint8_t& code : codes) code = static_cast<uint8_t>(rng.Below(levels));
    matrix.SetCodes(r, codes);
  }
  for (size_t r = 0; r < matrix.scale_rows(); ++r) {
    for (size_t c = 0; c < matrix.scale_cols(); ++c) {
      const float scale = HalfToFloat(static_cast<uint16_t>(rng.Below(0x7c00)));  // any finite one
      const int zero =
          scheme.symmetric ? 1 << (scheme.bits - 1) : static_cast<int>(rng.Below(levels));
      matrix.set_affine(r, c, {scale, zero});
    }
  }
  return matrix;
}

void CheckRows(const PackedMatrix& matrix, size_t first, size_t count, size_t padding) {
  constexpr float kUntouched = -12345.0f;
  const size_t stride = matrix.cols() + padding;
  // The last row ends where the array does.
  const size_t size = count == 0 ? 0 : count * stride - padding;
  testing::GuardedArray<float> array(std::vector<float>(size, kUntouched));
  DecodeRows(matrix, first, {array.data(), count, matrix.cols(), stride});
  const std::vector<float> found = array.Values();
  std::vector<float> expected(matrix.cols());
  for (size_t r = 0; r < count; ++r) {
    matrix.DecodeRow(first + r, expected);
    const std::span<const float> row(found.data() + r * stride, matrix.cols());
    if (!testing::SameBits(row, expected)) {
      FAIL(SchemeName(matrix.scheme()) << ", " << matrix.cols() << " columns, row " << first + r);
    }
    for (size_t c = matrix.cols(); c < stride && r + 1 < count; ++c) {
      if (found[r * stride + c] != kUntouched) FAIL("wrote between the rows");
    }
  }
}

TEST_CASE("dequantize: rows equal PackedMatrix::DecodeRow bit for bit", "[dequantize]") {
  Rng rng(1);
  for (int bits = kMinBits; bits <= kMaxBits; ++bits) {
    for (bool symmetric : {false, true}) {
      for (Granularity granularity :
           {Granularity::kTensor, Granularity::kRow, Granularity::kColumn}) {
        for (size_t cols : testing::NastySizes()) {
          const WeightScheme scheme{bits, granularity, 0, symmetric};
          CheckRows(RandomMatrix(cols, scheme, rng), 0, kRows, 0);
        }
      }
    }
  }
}

TEST_CASE("dequantize: groups of every size", "[dequantize]") {
  Rng rng(2);
  for (int bits = kMinBits; bits <= kMaxBits; ++bits) {
    for (bool symmetric : {false, true}) {
      for (size_t group : testing::NastySizes()) {
        for (size_t groups : {1, 2, 3}) {
          if (group > 129 && groups > 1) continue;
          const WeightScheme scheme{bits, Granularity::kGroup, group, symmetric};
          CheckRows(RandomMatrix(group * groups, scheme, rng), 0, kRows, 0);
        }
      }
    }
  }
}

TEST_CASE("dequantize: groups that do not divide", "[dequantize]") {
  Rng rng(7);
  for (int bits = kMinBits; bits <= kMaxBits; ++bits) {
    for (bool symmetric : {false, true}) {
      for (const auto& [cols, group] : testing::kRaggedSizes) {
        const WeightScheme scheme{bits, Granularity::kGroup, group, symmetric};
        PackedMatrix matrix = RandomMatrix(cols, scheme, rng);
        CheckRows(matrix, 0, kRows, 0);
        std::vector<uint32_t> order(cols);
        std::iota(order.begin(), order.end(), 0u);
        Shuffle<uint32_t>(order, rng);
        matrix.set_order(order);
        CheckRows(matrix, 1, 3, 3);
      }
    }
  }
}

TEST_CASE("dequantize: any rows, into any stride", "[dequantize]") {
  Rng rng(3);
  for (Granularity granularity :
       {Granularity::kTensor, Granularity::kRow, Granularity::kColumn, Granularity::kGroup}) {
    for (int bits : {3, 4}) {
      const PackedMatrix matrix = RandomMatrix(35, {bits, granularity, 7}, rng);
      for (size_t first = 0; first <= kRows; ++first) {
        for (size_t count = 0; first + count <= kRows; ++count) {
          for (size_t padding : {0, 3}) CheckRows(matrix, first, count, padding);
        }
      }
    }
  }
}

TEST_CASE("dequantize: columns in an order of their own", "[dequantize]") {
  Rng rng(5);
  for (Granularity granularity :
       {Granularity::kTensor, Granularity::kRow, Granularity::kColumn, Granularity::kGroup}) {
    PackedMatrix matrix = RandomMatrix(35, {3, granularity, 7}, rng);
    std::vector<uint32_t> order(35);
    std::iota(order.begin(), order.end(), 0u);
    Shuffle<uint32_t>(order, rng);
    matrix.set_order(order);
    CheckRows(matrix, 0, kRows, 0);
    CheckRows(matrix, 1, 3, 3);
  }
}

TEST_CASE("dequantize: formats with a table", "[dequantize]") {
  Rng rng(6);
  const std::vector<float> weights = testing::NormalFloats(kRows * 96, 0.02, rng);
  std::vector<WeightScheme> schemes = testing::TableSchemes(32);
  for (const WeightScheme& scheme : testing::FormatSchemes(40)) schemes.push_back(scheme);
  for (const WeightScheme& scheme : schemes) {
    PackedMatrix matrix =
        RoundToNearest(MatrixView<const float>(weights.data(), kRows, 96), scheme);
    CheckRows(matrix, 0, kRows, 0);
    std::vector<uint32_t> order(96);
    std::iota(order.begin(), order.end(), 0u);
    Shuffle<uint32_t>(order, rng);
    matrix.set_order(order);
    CheckRows(matrix, 1, 3, 3);
  }
}

TEST_CASE("dequantize: a rounded matrix is half a step away at most", "[dequantize]") {
  Rng rng(4);
  const std::vector<float> weights = testing::NormalFloats(kRows * 64, 0.02, rng);
  const WeightScheme scheme{.bits = 4, .group = 32};
  const PackedMatrix matrix =
      RoundToNearest(MatrixView<const float>(weights.data(), kRows, 64), scheme);
  std::vector<float> values(weights.size());
  DecodeRows(matrix, 0, {values.data(), kRows, 64});
  for (size_t i = 0; i < weights.size(); ++i) {
    const float scale = matrix.affine(i / 64, i % 64 / 32).scale;
    CHECK(std::fabs(values[i] - weights[i]) <= scale * 0.51f);  // the FP16 scale adds a little
  }
}

}  // namespace
}  // namespace quantref
