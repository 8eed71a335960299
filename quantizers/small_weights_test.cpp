#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "harness/base/rng.h"
#include "harness/method/round_linear.h"
#include "harness/quant/affine.h"
#include "harness/testing/testing.h"
#include "quantizers/registry.h"
#include "quantizers/statistics_testing.h"

// Weights whose scales FP16 alone would lose, for every rounder in the registry.

namespace quantref {
namespace {

using testing::CorrelatedInputs;
using testing::FlagVariants;
using testing::GramOf;

constexpr size_t kRows = 6, kCols = 48;

Matrix<float> Weights(int exponent) {
  Rng rng(7);
  Matrix<float> weights(kRows, kCols);
  for (size_t i = 0; i < kRows * kCols; ++i)
    weights.data()[i] = std::ldexp(static_cast<float>(rng.Normal()), exponent);
  return weights;
}

// The squared error of the rounded weights, over that of weights of the size of 1.
double MeanError(const Matrix<float>& weights, const PackedMatrix& packed, int exponent) {
  std::vector<float> row(kCols);
  double sum = 0;
  for (size_t r = 0; r < kRows; ++r) {
    packed.DecodeRow(r, row);
    for (size_t c = 0; c < kCols; ++c) {
      const double error = static_cast<double>(weights(r, c)) - static_cast<double>(row[c]);
      sum += std::ldexp(error * error, -2 * exponent);
    }
  }
  return sum;
}

TEST_CASE("small weights: every rounder loses as little of them as of others", "[small]") {
  InputStatistics inputs;
  inputs.tokens = 100;
  const Matrix<float> x = CorrelatedInputs(100, kCols, 3);
  inputs.gram = GramOf(x);
  inputs.cross = testing::CrossOf(CorrelatedInputs(100, kCols, 4), x);
  const Matrix<float> weights = Weights(0);
  for (const Rounder* rounder : Rounders()) {
    for (const Knobs& knobs : FlagVariants(*rounder)) {
      for (const WeightScheme& scheme :
           {WeightScheme{.bits = 4, .group = 16},
            WeightScheme{.bits = 8, .granularity = Granularity::kRow, .symmetric = true}}) {
        if (!rounder->Supports(scheme)) continue;
        RoundInput input{"w", weights.view(), scheme, &inputs};
        input.knobs = &knobs;
        const double expected = MeanError(weights, rounder->Round(input).packed, 0);
        for (const int exponent : {-13, -21, -40}) {
          INFO(rounder->name() << ", " << SchemeName(scheme) << ", 2^" << exponent);
          const Matrix<float> small = Weights(exponent);
          input.weights = small.view();
          const PackedMatrix packed = rounder->Round(input).packed;
          CHECK(packed.exponent() < 0);
          // A search may take the other of two grids that are as good as each other.
          CHECK(MeanError(small, packed, exponent) == Approx(expected).epsilon(1e-3));
        }
      }
    }
  }
}

TEST_CASE("small weights: originals kept for outliers that FP16 cannot hold are told", "[small]") {
  Linear linear;
  linear.name = "w";
  linear.weight = Weight(Weights(-40));
  const PlannedLinear planned{{"w", kRows, kCols}, WeightScheme{.bits = 8, .group = 16}};
  Method method;
  method.rounder = FindRounder("rtn");
  LinearContext context;
  context.activations = ActivationFormat{.outliers = OutlierRule{.threshold = 6}};
  CHECK_ERROR(RoundLinear(planned, method, context, linear), "its columns of outliers: FP16",
              "outlier_weights: int8");
  context.activations->outliers->weights = OutlierRule::Weights::kInt8;
  CHECK(RoundLinear(planned, method, context, linear).method == "rtn");
}

TEST_CASE("small weights: those too small for any scale are refused", "[small]") {
  const Matrix<float> weights = Weights(-120);
  InputStatistics inputs;
  inputs.gram = GramOf(CorrelatedInputs(100, kCols, 3));
  const WeightScheme scheme{.bits = 4, .group = 16};
  for (const Rounder* rounder : Rounders()) {
    if (!rounder->Supports(scheme)) continue;
    CHECK_ERROR(rounder->Round({"w", weights.view(), scheme, &inputs}),
                "does not fit FP16 times 2^-80");
  }
}

}  // namespace
}  // namespace quantref
