#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "harness/base/half.h"
#include "harness/base/matrix.h"
#include "harness/quant/grid.h"
#include "harness/testing/testing.h"

// Rounding against numpy, bit for bit: testdata/rounding.json, from
// scripts/goldens/rtn_rounding.py.

namespace quantref {
namespace {

using nlohmann::json;

const json& Cases() {
  static const json cases = [] {
    std::ifstream file(testing::SourceDir() / "harness" / "quant" / "testdata" / "rounding.json");
    REQUIRE(file.good());
    return json::parse(file);
  }();
  return cases;
}

WeightScheme SchemeOf(const json& entry) {
  WeightScheme scheme;
  scheme.bits = entry.at("bits");
  scheme.symmetric = entry.at("symmetric");
  scheme.full_range = entry.at("full_range");
  scheme.zero_in_range = entry.at("zero_in_range");
  const std::string granularity = entry.at("granularity");
  bool known = false;
  for (Granularity candidate :
       {Granularity::kTensor, Granularity::kRow, Granularity::kColumn, Granularity::kGroup}) {
    if (granularity != GranularityName(candidate)) continue;
    scheme.granularity = candidate;
    known = true;
  }
  REQUIRE(known);
  if (scheme.granularity == Granularity::kGroup) scheme.group = entry.at("group");
  return scheme;
}

std::vector<float> WeightsOf(const json& entry) {
  std::vector<float> weights;
  for (const json& pattern : entry.at("weights")) weights.push_back(HalfToFloat(pattern));
  return weights;
}

// The codes as the golden file has them: signed where the scheme is symmetric.
std::vector<int> CodesOf(const PackedMatrix& packed) {
  const int offset = packed.scheme().symmetric ? 1 << (packed.scheme().bits - 1) : 0;
  std::vector<int> all;
  std::vector<uint8_t> row(packed.cols());
  for (size_t r = 0; r < packed.rows(); ++r) {
    packed.GetCodes(r, row);
    for (uint8_t code : row) all.push_back(code - offset);
  }
  return all;
}

TEST_CASE("affine: bit-identical to the golden vectors", "[affine][golden]") {
  for (const json& entry : Cases()) {
    INFO("case " << entry.at("name"));
    const WeightScheme scheme = SchemeOf(entry);
    const std::vector<float> weights = WeightsOf(entry);
    const size_t rows = entry.at("rows"), cols = entry.at("cols");
    REQUIRE(weights.size() == rows * cols);
    const PackedMatrix packed =
        RoundToNearest(MatrixView<const float>(weights.data(), rows, cols), scheme);
    CHECK(CodesOf(packed) == entry.at("codes").get<std::vector<int>>());
    std::vector<int> scales, zeros;
    for (size_t i = 0; i < packed.scale_rows() * packed.scale_cols(); ++i) {
      const Affine affine = packed.affine(i / packed.scale_cols(), i % packed.scale_cols());
      scales.push_back(FloatToHalf(std::ldexp(affine.scale, -packed.exponent())));
      zeros.push_back(scheme.symmetric ? 0 : affine.zero);
    }
    CHECK(packed.exponent() == entry.at("exponent").get<int>());
    CHECK(scales == entry.at("scales").get<std::vector<int>>());
    CHECK(zeros == entry.at("zeros").get<std::vector<int>>());
  }
}

TEST_CASE("affine: the golden vectors cover every scheme and granularity", "[affine][golden]") {
  std::set<std::string> schemes;
  for (const json& entry : Cases()) schemes.insert(SchemeName(SchemeOf(entry)));
  // 7 widths, 4 kinds of range, 4 granularities.
  CHECK(schemes.size() == 7 * 4 * 4);
}

}  // namespace
}  // namespace quantref
