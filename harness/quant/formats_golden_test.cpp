#include <algorithm>
#include <bit>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "harness/base/half.h"
#include "harness/base/sha256.h"
#include "harness/quant/dynamic_map.h"
#include "harness/quant/grid.h"
#include "harness/testing/testing.h"

// Every format against other tools, bit for bit: testdata/formats.json, from
// scripts/goldens/formats.py.

namespace quantref {
namespace {

using nlohmann::json;

const json& FormatGoldens() {
  static const json goldens = [] {
    std::ifstream file(testing::SourceDir() / "harness/quant/testdata/formats.json");
    REQUIRE(file.good());
    return json::parse(file);
  }();
  return goldens;
}

float HashedNumber(uint32_t i) {
  uint32_t h = i * 2654435761u + 12345u;
  h = (h ^ h >> 15) * 2246822519u;
  h = (h ^ h >> 13) * 3266489917u;
  h ^= h >> 16;
  return static_cast<float>(static_cast<int32_t>(h >> 8) - (1 << 23)) * 0x1p-23f;
}

// The weights of the script.
Matrix<float> GoldenWeights(size_t rows, size_t cols) {
  Matrix<float> weights(rows, cols);
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < cols; ++c) {
      const auto at = static_cast<uint32_t>(r * cols + c);
      const float u = HashedNumber(at), v = HashedNumber(at + static_cast<uint32_t>(rows * cols));
      weights(r, c) = r == 5 && c < 64 ? 0 : std::ldexp(u * v * v, -static_cast<int>(r % 4));
    }
  }
  return weights;
}

WeightScheme SchemeOfGolden(const json& golden) {
  const NumberFormat* format = FindFormat(golden.at("format").get<std::string>());
  REQUIRE(format != nullptr);
  WeightScheme scheme = SchemeOf(*format);
  scheme.bits = golden.at("bits");
  const std::string granularity = golden.at("granularity");
  scheme.granularity = granularity == "row"      ? Granularity::kRow
                       : granularity == "tensor" ? Granularity::kTensor
                                                 : Granularity::kGroup;
  scheme.group = golden.value("group", scheme.group);
  scheme.double_quant = golden.at("double_quant");
  return scheme;
}

template <typename T>
std::string HashOf(const std::vector<T>& numbers) {
  return Sha256Hex(std::span<const T>(numbers));
}

std::vector<uint8_t> CodesOfAll(const PackedMatrix& packed) {
  std::vector<uint8_t> all, codes(packed.cols());
  for (size_t r = 0; r < packed.rows(); ++r) {
    packed.GetCodes(r, codes);
    all.insert(all.end(), codes.begin(), codes.end());
  }
  return all;
}

std::vector<float> ValuesOfAll(const PackedMatrix& packed) {
  std::vector<float> all, values(packed.cols());
  for (size_t r = 0; r < packed.rows(); ++r) {
    packed.DecodeRow(r, values);
    for (const float value : values) all.push_back(value == 0 ? 0.0f : value);
  }
  return all;
}

TEST_CASE("formats: codes, scales and values are those of other tools, bit for bit") {
  for (const json& golden : FormatGoldens().at("formats")) {
    const WeightScheme scheme = SchemeOfGolden(golden);
    const Matrix<float> weights = GoldenWeights(golden.at("rows"), golden.at("cols"));
    const PackedMatrix packed = RoundToNearest(weights.view(), scheme);
    INFO(SchemeName(scheme));
    std::vector<float> scales;
    std::vector<uint16_t> zeros;
    for (size_t i = 0; i < packed.scales().count(); ++i) {
      const Grid grid = packed.grid(i / packed.scale_cols(), i % packed.scale_cols());
      scales.push_back(grid.scale());
      zeros.push_back(FloatToHalf(grid.zero()));
    }
    const std::vector<float> values = ValuesOfAll(packed);
    CHECK(std::vector<float>(values.begin(), values.begin() + 8) ==
          golden.at("first").get<std::vector<float>>());
    CHECK(HashOf(scales) == golden.at("scales"));
    CHECK(Sha256Hex(packed.scale_bytes()) == golden.at("stored"));
    CHECK(HashOf(CodesOfAll(packed)) == golden.at("codes"));
    CHECK(HashOf(values) == golden.at("values"));
    if (golden.contains("zeros")) CHECK(HashOf(zeros) == golden.at("zeros"));
    std::vector<uint32_t> frame;
    if (scheme.scale_type() == ScaleType::kE4m3)
      frame.push_back(std::bit_cast<uint32_t>(packed.frame().divisor));
    if (scheme.double_quant) frame.push_back(std::bit_cast<uint32_t>(packed.frame().mean));
    for (const float absmax : packed.frame().absmax)
      frame.push_back(std::bit_cast<uint32_t>(absmax));
    CHECK(frame == golden.at("frame").get<std::vector<uint32_t>>());
  }
}

TEST_CASE("formats: the dynamic map is bitsandbytes'") {
  std::vector<float> numbers;
  for (size_t code = 0; code < DynamicMap().size(); ++code) numbers.push_back(DynamicMap()[code]);
  CHECK(std::ranges::is_sorted(numbers));
  CHECK(HashOf(numbers) == FormatGoldens().at("dynamic_map"));
}

}  // namespace
}  // namespace quantref
