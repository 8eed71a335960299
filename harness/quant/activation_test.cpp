#include "harness/quant/activation.h"

#include <catch2/catch.hpp>
#include <set>
#include <string>

#include "harness/quant/format.h"

namespace quantref {
namespace {

TEST_CASE("activation: names say bits, reach and where the scale is from", "[activation]") {
  CHECK(ActivationName({}) == "a8 token");
  CHECK(ActivationName({.bits = 4}) == "a4 token");
  CHECK(ActivationName({.bits = 6, .per_token = false}) == "a6 tensor");
  CHECK(ActivationName({.bits = 8, .per_token = false, .dynamic = false}) == "a8 tensor static");
  CHECK(ActivationName({.outliers = OutlierRule{}}) == "a8 token fp16>=6");
  CHECK(ActivationName({.outliers = OutlierRule{4.5, OutlierRule::Weights::kInt8}}) ==
        "a8 token int8>=4.5");
  CHECK(ActivationName({.bits = 4, .group = 128}) == "a4 g128");
  CHECK(ActivationName({.bits = 4, .group = 32, .format = FindFormat("mxfp4")}) == "a-mxfp4 g32");
  CHECK(ActivationName({.format = FindFormat("fp8_e4m3")}) == "a-fp8_e4m3 token");
  std::set<std::string> names;
  for (int bits : {2, 8}) {
    for (bool per_token : {false, true}) {
      for (bool dynamic : {false, true}) names.insert(ActivationName({bits, per_token, dynamic}));
    }
  }
  CHECK(names.size() == 8);
}

TEST_CASE("activation: the text of a format in hashes stays, whatever tables call it",
          "[activation]") {
  CHECK(HashedActivations({}) == "a8 true -1");
  CHECK(HashedActivations({.bits = 6, .per_token = false, .static_scale = 0.25f}) ==
        "a6 false 0.25");
  CHECK(HashedActivations({.bits = 4, .group = 128}) == "a4 true -1 int g128");
  CHECK(HashedActivations({.bits = 4, .group = 32, .format = FindFormat("mxfp4")}) ==
        "a4 true -1 mxfp4 g32");
  CHECK(HashedActivations({.outliers = OutlierRule{}}) == "a8 true -1 fp16>=6");
  CHECK(HashedActivations({.outliers = OutlierRule{4.5, OutlierRule::Weights::kInt8}}) ==
        "a8 true -1 int8>=4.5");
}

TEST_CASE("activation: the largest code and the scale that reaches it", "[activation]") {
  const ActivationFormat eight{.bits = 8}, two{.bits = 2};
  CHECK(eight.Limit() == 127);
  CHECK(two.Limit() == 1);
  CHECK(eight.ScaleFor(254) == 2);
  CHECK(two.ScaleFor(254) == 254);
  CHECK(eight.ScaleFor(0) == 0);
}

}  // namespace
}  // namespace quantref
