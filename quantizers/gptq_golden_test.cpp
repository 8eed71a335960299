#include <catch2/catch.hpp>
#include <cstdint>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "harness/base/half.h"
#include "harness/testing/testing.h"
#include "quantizers/gptq.h"
#include "quantizers/statistics_testing.h"

// GPTQ against PyTorch in float64: testdata/gptq.json, from scripts/goldens/gptq_torch.py.

namespace quantref {
namespace {

using nlohmann::json;

const json& GptqGolden() {
  static const json golden = [] {
    std::ifstream file(testing::SourceDir() / "quantizers" / "testdata" / "gptq.json");
    REQUIRE(file.good());
    return json::parse(file);
  }();
  return golden;
}

Matrix<float> FromPatterns(const json& entry, const char* rows, const char* cols) {
  Matrix<float> matrix(entry.at(rows), entry.at(cols));
  REQUIRE(entry.at("values").size() == matrix.rows() * matrix.cols());
  float* next = matrix.data();
  for (const json& pattern : entry.at("values")) *next++ = HalfToFloat(pattern);
  return matrix;
}

Knobs KnobsOf(const json& entry) {
  Knobs knobs(Gptq().knobs());
  for (const char* flag : {"act_order", "static_groups", "mse_clip"}) {
    knobs.Set(flag, entry.at(flag).get<bool>() ? 1 : 0);
  }
  knobs.Set("asymmetric", entry.at("reference").get<int>() >= 0 ? 1 : 0);
  knobs.Set("asymmetry", entry.at("asymmetry"));
  return knobs;
}

size_t CountEqual(const PackedMatrix& packed, const json& expected) {
  REQUIRE(expected.size() == packed.rows() * packed.cols());
  size_t equal = 0;
  std::vector<uint8_t> codes(packed.cols());
  for (size_t r = 0; r < packed.rows(); ++r) {
    packed.GetCodes(r, codes);
    for (size_t c = 0; c < packed.cols(); ++c) {
      equal += codes[c] == expected[r * packed.cols() + c].get<int>();
    }
  }
  return equal;
}

// The program computes in double, so where FP32 rounds a weight to the other side of a tie the rest
// of its row may differ.
TEST_CASE("gptq: the golden vectors", "[gptq][golden]") {
  size_t all = 0, equal = 0;
  for (const json& entry : GptqGolden().at("cases")) {
    const Matrix<float> weights = FromPatterns(
        GptqGolden().at("weights").at(entry.at("weights").get<size_t>()), "rows", "cols");
    const json& all_inputs = GptqGolden().at("inputs");
    const auto input = [&](size_t i) {
      return FromPatterns(all_inputs.at(i), "tokens", "channels");
    };
    InputStatistics inputs;
    const Matrix<float> x = input(entry.at("inputs").get<size_t>());
    inputs.gram = testing::GramOf(x);
    if (const int reference = entry.at("reference"); reference >= 0)
      inputs.cross = testing::CrossOf(input(static_cast<size_t>(reference)), x);
    const Knobs knobs = KnobsOf(entry);
    const WeightScheme scheme{
        .bits = entry.at("bits"),
        .granularity = entry.at("granularity") == "row" ? Granularity::kRow : Granularity::kGroup,
        .group = entry.at("group"),
        .symmetric = entry.at("symmetric")};
    const PackedMatrix packed = Gptq()
                                    .Round({.name = "w",
                                            .weights = weights.view(),
                                            .scheme = scheme,
                                            .inputs = &inputs,
                                            .knobs = &knobs})
                                    .packed;
    const size_t same = CountEqual(packed, entry.at("codes"));
    INFO(entry.at("name") << ": " << same << " of " << entry.at("codes").size() << " codes equal");
    CHECK(std::vector<uint32_t>(packed.order().begin(), packed.order().end()) ==
          entry.at("order").get<std::vector<uint32_t>>());
    CHECK(same + 24 >= entry.at("codes").size());  // a row at most
    CHECK(testing::OutputError(weights.view(), packed, inputs.gram) ==
          Approx(entry.at("error").get<double>()).epsilon(1e-4));
    all += entry.at("codes").size();
    equal += same;
  }
  INFO(equal << " of " << all << " codes equal");
  CHECK(static_cast<double>(equal) >= 0.999 * static_cast<double>(all));
}

}  // namespace
}  // namespace quantref
