#include "quantizers/rtn.h"

#include <catch2/catch.hpp>

#include "harness/quant/grid.h"
#include "harness/testing/testing.h"
#include "quantizers/registry.h"
#include "quantizers/statistics_testing.h"

namespace quantref {
namespace {

TEST_CASE("rtn: equals RoundToNearest bit for bit", "[rtn]") {
  const Rtn rtn;
  const Matrix<float> weights = testing::NormalMatrix(9, 64, 1);
  for (int bits = kMinBits; bits <= kMaxBits; ++bits) {
    for (const Granularity granularity :
         {Granularity::kTensor, Granularity::kRow, Granularity::kColumn, Granularity::kGroup}) {
      for (const bool symmetric : {false, true}) {
        for (const bool option : {false, true}) {
          const WeightScheme scheme{bits, granularity, 16, symmetric, option, !option};
          INFO(SchemeName(scheme));
          CHECK(rtn.Round({"layers.0.mlp.up_proj", weights.view(), scheme}).packed.Sha256() ==
                RoundToNearest(weights.view(), scheme).Sha256());
        }
      }
    }
  }
}

TEST_CASE("rtn: is in the registry under its name", "[rtn]") {
  const Rounder* rounder = FindRounder("rtn");
  REQUIRE(rounder != nullptr);
  CHECK(dynamic_cast<const Rtn*>(rounder) != nullptr);
}

TEST_CASE("rtn: refuses a scale beyond FP16", "[rtn]") {
  Matrix<float> weights = testing::NormalMatrix(2, 16, 1);
  weights(1, 3) = 1e30f;
  const RoundInput input{"x", weights.view(), {.granularity = Granularity::kRow}};
  CHECK_ERROR(Rtn().Round(input), "does not fit FP16");
}

}  // namespace
}  // namespace quantref
