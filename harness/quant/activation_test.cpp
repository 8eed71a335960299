#include "harness/quant/activation.h"

#include <catch2/catch.hpp>
#include <set>
#include <string>

namespace quantref {
namespace {

TEST_CASE("activation: names say bits, reach and where the scale is from", "[activation]") {
  CHECK(ActivationName({}) == "a8 token");
  CHECK(ActivationName({.bits = 4}) == "a4 token");
  CHECK(ActivationName({.bits = 6, .per_token = false}) == "a6 tensor");
  CHECK(ActivationName({.bits = 8, .per_token = false, .dynamic = false}) == "a8 tensor static");
  std::set<std::string> names;
  for (int bits : {2, 8}) {
    for (bool per_token : {false, true}) {
      for (bool dynamic : {false, true}) names.insert(ActivationName({bits, per_token, dynamic}));
    }
  }
  CHECK(names.size() == 8);
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
