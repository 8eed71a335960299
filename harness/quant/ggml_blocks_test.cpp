#include "harness/quant/ggml_blocks.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "harness/base/half.h"
#include "harness/quant/ggml_blocks_testing.h"
#include "harness/quant/ggml_matrix.h"
#include "harness/quant/half_rows.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

TEST_CASE("ggml_blocks: every type decodes to the bits of Python's gguf", "[ggml_blocks]") {
  const std::vector<testing::BlocksGolden> goldens = testing::BlocksGoldens();
  CHECK(goldens.size() == 19);
  for (const testing::BlocksGolden& golden : goldens) {
    INFO(golden.type->name);
    REQUIRE(DecodesGgml(golden.type->type));
    CHECK(testing::Contains(DecodedGgmlTypes(), golden.type->name));
    std::vector<float> values(golden.Values());
    DecodeGgml(golden.type->type, std::as_bytes(std::span(golden.blocks)), values);
    golden.Check(values);
  }
}

TEST_CASE("ggml_blocks: what has no decoder says so", "[ggml_blocks]") {
  for (const GgmlType type : {GgmlType::kIq2Xxs, GgmlType::kIq1M, GgmlType::kQ1_0, GgmlType::kI8})
    CHECK_FALSE(DecodesGgml(type));
  CHECK(testing::Contains(DecodedGgmlTypes(), "Q6_K"));
  CHECK_FALSE(testing::Contains(DecodedGgmlTypes(), "IQ2"));
}

TEST_CASE("ggml_matrix: rows of heads stand in the model's order", "[ggml_blocks]") {
  constexpr size_t kHeadRows = 6, kRows = 12, kCols = 32, kRowBytes = 34;
  std::vector<std::byte> bytes(kRows * kRowBytes);
  for (size_t row = 0; row < kRows; ++row) {
    bytes[row * kRowBytes + 1] = std::byte{0x3c};  // a scale of 1
    bytes[row * kRowBytes + 2] = static_cast<std::byte>(row);
  }
  Tensor tensor{"q", DType::kBlocks, {kRows, kCols}, bytes.data(), bytes.size()};
  tensor.blocks = GgmlType::kQ8_0;
  const GgmlMatrix stored(tensor);
  tensor.head_rows = kHeadRows;
  const GgmlMatrix model(tensor);
  CHECK(model.StorageBits() == 8 * bytes.size());
  CHECK(model.Sha256() != stored.Sha256());
  std::vector<float> row(kCols);
  // Written as the converter does: (heads, 2, half) becomes (heads, half, 2).
  for (size_t head = 0; head < kRows / kHeadRows; ++head) {
    for (size_t half = 0; half < 2; ++half) {
      for (size_t i = 0; i < kHeadRows / 2; ++i) {
        model.DecodeRow(head * kHeadRows + half * kHeadRows / 2 + i, row);
        CHECK(row[0] == static_cast<float>(head * kHeadRows + 2 * i + half));
      }
    }
  }
  stored.DecodeRow(5, row);
  CHECK(row[0] == 5);
}

TEST_CASE("half_rows: numbers are rounded as FloatToHalf rounds them", "[ggml_blocks]") {
  std::vector<float> values;
  for (uint32_t pattern = 0; pattern <= 0xffff; ++pattern) {
    const float half = HalfToFloat(static_cast<uint16_t>(pattern));
    if (!(std::fabs(half) <= kMaxHalf)) continue;
    const float next = HalfToFloat(static_cast<uint16_t>(pattern + 1));
    values.push_back(half);
    if (!(std::fabs(next) <= kMaxHalf) || (half < 0) != (next < 0)) continue;
    const float middle = half + (next - half) / 2;  // a tie
    for (const float value : {middle, std::nextafter(middle, half), std::nextafter(middle, next)})
      values.push_back(value);
  }
  std::vector<float> rounded = values;
  RoundToHalves(rounded);
  size_t different = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const float expected = RoundToHalf(values[i]);
    different += expected != rounded[i] || std::signbit(expected) != std::signbit(rounded[i]);
  }
  CHECK(different == 0);
}

}  // namespace
}  // namespace quantref
