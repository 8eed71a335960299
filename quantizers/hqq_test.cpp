#include "quantizers/hqq.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "harness/base/half.h"
#include "harness/quant/format.h"
#include "harness/quant/grid.h"
#include "harness/testing/testing.h"
#include "quantizers/registry.h"
#include "quantizers/statistics_testing.h"

namespace quantref {
namespace {

using nlohmann::json;

WeightScheme FloatZero(int bits, size_t group) {
  WeightScheme scheme = SchemeOf(*FindFormat("float_zero"));
  scheme.bits = bits;
  scheme.group = group;
  return scheme;
}

Rounded RoundByHqq(MatrixView<const float> weights, const WeightScheme& scheme,
                   const std::map<std::string, double>& settings = {}, size_t threads = 1) {
  Knobs knobs(Hqq().knobs());
  for (const auto& [name, value] : settings) knobs.Set(name, value);
  return Hqq().Round(
      {.name = "w", .weights = weights, .scheme = scheme, .knobs = &knobs, .threads = threads});
}

// The mean of |w - q|^p.
double LpError(MatrixView<const float> weights, const PackedMatrix& packed, double p) {
  std::vector<float> decoded(packed.cols());
  double sum = 0;
  for (size_t r = 0; r < packed.rows(); ++r) {
    packed.DecodeRow(r, decoded);
    for (size_t c = 0; c < packed.cols(); ++c)
      sum += std::pow(std::fabs(static_cast<double>(weights(r, c) - decoded[c])), p);
  }
  return sum / static_cast<double>(packed.rows() * packed.cols());
}

// Heavy tails: a few weights far from the others.
Matrix<float> HeavyTailed(size_t rows, size_t cols, uint64_t seed) {
  Matrix<float> weights = testing::NormalMatrix(rows, cols, seed);
  for (size_t i = 0; i < rows * cols; ++i) {
    float& w = weights.data()[i];
    w *= 0.02f * (1 + w * w * w * w / 8);
  }
  return weights;
}

// testdata/hqq.json, from scripts/goldens/hqq_torch.py: the authors' own program.
TEST_CASE("hqq: the golden vectors", "[hqq][golden]") {
  std::ifstream file(testing::SourceDir() / "quantizers" / "testdata" / "hqq.json");
  REQUIRE(file.good());
  for (const json& entry : json::parse(file).at("cases")) {
    const size_t rows = entry.at("rows"), cols = entry.at("cols"), group = entry.at("group");
    INFO("bits " << entry.at("bits") << ", group " << group << ", kappa " << entry.at("kappa"));
    Matrix<float> weights(rows, cols);
    for (size_t i = 0; i < rows * cols; ++i)
      weights.data()[i] = HalfToFloat(entry.at("weights")[i].get<uint16_t>());
    const PackedMatrix packed = RoundByHqq(weights.view(), FloatZero(entry.at("bits"), group),
                                           {{"kappa", entry.at("kappa")}})
                                    .packed;
    size_t equal = 0, zeros = 0;
    std::vector<uint8_t> codes(cols);
    for (size_t r = 0; r < rows; ++r) {
      packed.GetCodes(r, codes);
      for (size_t c = 0; c < cols; ++c)
        equal += codes[c] == entry.at("codes")[r * cols + c].get<int>();
      for (size_t s = 0; s < cols / group; ++s) {
        const float wanted = entry.at("zeros")[r * (cols / group) + s];
        zeros += std::fabs(packed.grid(r, s).zero() - RoundToHalf(wanted)) <= 0.01f;
      }
    }
    INFO(equal << " codes equal, " << zeros << " zeros close");
    CHECK(equal >= rows * cols * 998 / 1000);
    CHECK(zeros == rows * cols / group);
  }
}

TEST_CASE("hqq: the error that it looks at falls below that of the range", "[hqq]") {
  const Matrix<float> weights = HeavyTailed(16, 256, 1);
  for (const int bits : {2, 3, 4}) {
    INFO(bits << " bits");
    const WeightScheme scheme = FloatZero(bits, 64);
    const PackedMatrix nearest = RoundToNearest(weights.view(), scheme);
    const PackedMatrix searched = RoundByHqq(weights.view(), scheme).packed;
    CHECK(LpError(weights.view(), searched, 0.7) < 0.99 * LpError(weights.view(), nearest, 0.7));
    CHECK(RoundByHqq(weights.view(), scheme, {{"iterations", 0}}).packed.Sha256() ==
          nearest.Sha256());
  }
}

TEST_CASE("hqq: any reach, any number of threads, constant weights", "[hqq]") {
  Matrix<float> weights = HeavyTailed(9, 70, 2);
  for (size_t c = 0; c < 70; ++c) weights(3, c) = 0.5f, weights(4, c) = 0;
  for (const Granularity granularity :
       {Granularity::kTensor, Granularity::kRow, Granularity::kColumn, Granularity::kGroup}) {
    WeightScheme scheme = FloatZero(3, 32);  // the last group of a row is shorter
    scheme.granularity = granularity;
    INFO(SchemeName(scheme));
    const PackedMatrix once = RoundByHqq(weights.view(), scheme).packed;
    CHECK(once.Sha256() == RoundByHqq(weights.view(), scheme, {}, 3).packed.Sha256());
    CHECK(std::isfinite(LpError(weights.view(), once, 1)));
  }
}

TEST_CASE("hqq: limits cut the weights", "[hqq]") {
  const Matrix<float> weights = HeavyTailed(4, 64, 3);
  Matrix<float> limits(4, 1), cut(4, 64);
  std::fill_n(limits.data(), 4, 0.03f);
  for (size_t i = 0; i < 4 * 64; ++i) cut.data()[i] = std::clamp(weights.data()[i], -0.03f, 0.03f);
  const WeightScheme scheme = FloatZero(4, 64);
  CHECK(Hqq()
            .Round(
                {.name = "w", .weights = weights.view(), .scheme = scheme, .limits = limits.view()})
            .packed.Sha256() == RoundByHqq(cut.view(), scheme).packed.Sha256());
}

TEST_CASE("hqq: float_zero alone", "[hqq]") {
  const Rounder* hqq = FindRounder("hqq");
  REQUIRE(hqq != nullptr);
  CHECK(hqq->Supports(FloatZero(4, 64)));
  CHECK_FALSE(hqq->Supports({}));
  CHECK(testing::Contains(hqq->WhyNot({}), "float_zero"));
}

}  // namespace
}  // namespace quantref
