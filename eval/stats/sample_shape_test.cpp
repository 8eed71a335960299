#include "eval/stats/sample_shape.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "eval/stats/normal.h"
#include "harness/base/rng.h"
#include "harness/io/json_file.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

std::vector<float> NormalSample(size_t count, Rng& rng) {
  std::vector<float> values(count);
  for (float& value : values) value = static_cast<float>(0.02 + 0.1 * rng.Normal());
  return values;
}

std::vector<float> LaplaceSample(size_t count, Rng& rng) {
  std::vector<float> values(count);
  for (float& value : values)
    value = static_cast<float>(std::log(1 - rng.Uniform()) - std::log(1 - rng.Uniform()));
  return values;
}

TEST_CASE("sample shape: as SciPy has it") {
  const nlohmann::json golden =
      ReadJsonFile(testing::SourceDir() / "eval/testdata/weight_shapes.json");
  for (const nlohmann::json& sample : golden["samples"]) {
    std::vector<float> values = sample["values"].get<std::vector<float>>();
    const double count = static_cast<double>(values.size());
    const SampleShape shape = *ShapeOf(values);
    CHECK(shape.count == values.size());
    CHECK(shape.distinct == sample["distinct"].get<size_t>());
    CHECK(shape.mean == Approx(sample["mean"].get<double>()).margin(1e-9));
    CHECK(shape.deviation == Approx(sample["deviation"].get<double>()).epsilon(1e-9));
    CHECK(shape.kurtosis == Approx(sample["kurtosis"].get<double>()).epsilon(1e-9));
    for (size_t k = 0; k < 3; ++k)
      CHECK(shape.within[k] == Approx(sample["within"][k].get<double>()));
    CHECK(shape.bulk == Approx(sample["bulk"].get<double>()).epsilon(1e-9));
    CHECK(shape.normal_distance == Approx(sample["normal_distance"].get<double>()).epsilon(1e-9));
    // What tests without rounded numbers have: never less, and of different numbers hardly more.
    const double kolmogorov = sample["kolmogorov"];
    CHECK(shape.normal_distance <= kolmogorov + 1e-12);
    if (shape.distinct == shape.count) CHECK(shape.normal_distance > kolmogorov - 1 / count);
  }
}

TEST_CASE("sample shape: of eight whole numbers, by hand") {
  std::vector<float> values = {4, 1, 8, 2, 7, 3, 5, 6};
  const SampleShape shape = *ShapeOf(values);
  CHECK(shape.mean == 4.5);
  CHECK(shape.deviation == Approx(std::sqrt(6.0)));  // 42 / 7
  CHECK(shape.kurtosis == Approx(48.5625 / (5.25 * 5.25) - 3));
  CHECK(shape.within[0] == 0.5);  // 3 to 6
  CHECK(shape.within[1] == 1);
  CHECK(shape.bulk == Approx((8 - 0.035 - (1 + 0.035)) / 7));
  CHECK(shape.Peak() == Approx(3.5 / std::sqrt(6.0)));
  // The ends: 3.5 / 2.449 deviations from the mean. Midway, i / 8 against the share below i + 0.5.
  double expected = NormalBelow(-3.5 / std::sqrt(6.0));
  for (int i = 1; i < 8; ++i)
    expected = std::max(expected, std::fabs(i / 8.0 - NormalBelow((i - 4) / std::sqrt(6.0))));
  CHECK(shape.normal_distance == Approx(expected));
}

TEST_CASE("sample shape: none of few values and of equal ones") {
  std::vector<float> few = {1, 2, 3, 4, 5, 6, 7}, equal(100, 0.25f);
  CHECK_FALSE(ShapeOf(few));
  CHECK_FALSE(ShapeOf(equal));
}

TEST_CASE("sample shape: the order of the values changes no bit, their unit nothing") {
  Rng rng(1);
  std::vector<float> values = LaplaceSample(999, rng), reversed(values.rbegin(), values.rend());
  std::vector<float> doubled = values;
  for (float& value : doubled) value *= 2;
  const SampleShape shape = *ShapeOf(values), other = *ShapeOf(reversed), wide = *ShapeOf(doubled);
  CHECK(shape.mean == other.mean);
  CHECK(shape.deviation == other.deviation);
  CHECK(shape.kurtosis == other.kurtosis);
  CHECK(shape.normal_distance == other.normal_distance);
  CHECK(wide.deviation == 2 * shape.deviation);
  CHECK(wide.kurtosis == shape.kurtosis);
  CHECK(wide.within == shape.within);
  CHECK(wide.normal_distance == shape.normal_distance);
}

TEST_CASE("sample shape: 94 to 97 % of normal samples lie within the bound") {
  const size_t count = GENERATE(200u, 2000u);
  CAPTURE(count);
  const size_t trials = count > 1000 ? 1000 : 4000;
  Rng rng(count);
  size_t inside = 0;
  for (size_t trial = 0; trial < trials; ++trial) {
    std::vector<float> values = NormalSample(count, rng);
    inside += ShapeOf(values)->normal_distance < NormalDistanceBound(count);
  }
  const double share = static_cast<double>(inside) / static_cast<double>(trials);
  CHECK(share >= 0.94);  // a little more than 0.95: what is midway between values is nearer
  CHECK(share <= 0.97);
}

TEST_CASE("sample shape: Laplace's distribution and mixed deviations lie outside the bound") {
  Rng rng(2);
  for (int trial = 0; trial < 20; ++trial) {
    std::vector<float> laplace = LaplaceSample(2000, rng), mixed = NormalSample(2000, rng);
    for (size_t i = 0; i < 500; ++i) mixed[i] *= 4;
    const double bound = NormalDistanceBound(2000);
    CHECK(ShapeOf(laplace)->normal_distance > bound);
    CHECK(ShapeOf(mixed)->normal_distance > bound);
    CHECK(ShapeOf(laplace)->normal_distance - DistanceHalfWidth(2000) > 0);
  }
  std::vector<float> many = LaplaceSample(200'000, rng);
  const SampleShape shape = *ShapeOf(many);
  CHECK(shape.kurtosis == Approx(3).margin(0.3));
  // The share within k deviations, sqrt(2) a scale: 1 - exp(-k sqrt(2)).
  for (size_t k = 0; k < 3; ++k) {
    const double deviations = static_cast<double>(k + 1) * std::sqrt(2.0);
    CHECK(shape.within[k] == Approx(1 - std::exp(-deviations)).margin(0.003));
  }
}

TEST_CASE("sample shape: numbers that were rounded when they were stored are as normal as before") {
  Rng rng(3);
  std::vector<float> values = NormalSample(20'000, rng);
  for (float& value : values) value = std::round(value * 50) / 50;  // a fifth of a deviation
  const SampleShape shape = *ShapeOf(values);
  CHECK(shape.distinct < 60);
  CHECK(shape.normal_distance < NormalDistanceBound(20'000));
}

// Lilliefors's table as Dallal and Wilkinson (1986) corrected it.
TEST_CASE("sample shape: the bound is Lilliefors's") {
  CHECK(NormalDistanceBound(20) == Approx(0.192).epsilon(0.01));
  CHECK(NormalDistanceBound(100) == Approx(0.089).epsilon(0.01));
  CHECK(NormalDistanceBound(1'000'000) == Approx(0.000895).epsilon(1e-4));
  CHECK(DistanceHalfWidth(1000) == Approx(0.0429470));
}

TEST_CASE("normal distribution: shares and quantiles are each other's inverse") {
  CHECK(NormalBelow(0) == 0.5);
  CHECK(NormalBelow(1.959963984540054) == Approx(0.975).epsilon(1e-12));
  CHECK(NormalWithin(1) == Approx(0.682689492137086).epsilon(1e-12));
  CHECK(NormalWithin(3) == Approx(0.997300203936740).epsilon(1e-12));
  for (const double share : {1e-6, 0.025, 0.3, 0.5, 0.9, 0.9999})
    CHECK(NormalBelow(NormalQuantile(share)) == Approx(share).epsilon(1e-12));
}

}  // namespace
}  // namespace quantref
