#include "harness/quant/scheme.h"

#include <catch2/catch.hpp>
#include <set>
#include <string>

#include "harness/quant/quant_testing.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

TEST_CASE("scheme: names as the tables print them", "[scheme]") {
  CHECK(SchemeName({}) == "int4 g128 asym");
  CHECK(SchemeName({.bits = 8, .granularity = Granularity::kRow, .symmetric = true}) ==
        "int8 row sym");
  CHECK(SchemeName({.bits = 3, .group = 64, .symmetric = true, .full_range = true}) ==
        "int3 g64 sym full");
  CHECK(SchemeName({.bits = 2, .granularity = Granularity::kTensor, .zero_in_range = false}) ==
        "int2 tensor asym min-max");
  CHECK(SchemeName({.bits = 5, .granularity = Granularity::kColumn}) == "int5 column asym");
}

TEST_CASE("scheme: knobs of the other kind do not show in the name", "[scheme]") {
  CHECK(SchemeName({.symmetric = true, .zero_in_range = false}) == "int4 g128 sym");
  CHECK(SchemeName({.full_range = true}) == "int4 g128 asym");
  CHECK(SchemeName({.granularity = Granularity::kRow, .group = 7}) == "int4 row asym");
}

TEST_CASE("scheme: every granularity has a name of its own", "[scheme]") {
  std::set<std::string> names;
  for (Granularity granularity :
       {Granularity::kTensor, Granularity::kRow, Granularity::kColumn, Granularity::kGroup}) {
    names.insert(GranularityName(granularity));
  }
  CHECK(names == std::set<std::string>{"tensor", "row", "column", "group"});
}

TEST_CASE("scheme: equality sees every field", "[scheme]") {
  const WeightScheme base;
  CHECK(base == WeightScheme{});
  CHECK_FALSE(base == WeightScheme{.bits = 5});
  CHECK_FALSE(base == WeightScheme{.granularity = Granularity::kRow});
  CHECK_FALSE(base == WeightScheme{.group = 64});
  CHECK_FALSE(base == WeightScheme{.symmetric = true});
  CHECK_FALSE(base == WeightScheme{.full_range = true});
  CHECK_FALSE(base == WeightScheme{.zero_in_range = false});
  CHECK_FALSE(base == WeightScheme{.format = &testing::kUneven});
}

TEST_CASE("scheme: 2 to 8 bits apply, and no others", "[scheme]") {
  for (int bits = 2; bits <= 8; ++bits) CHECK_NOTHROW(CheckApplies({.bits = bits}, "w"));
  for (int bits : {-4, 0, 1, 9, 16}) {
    CHECK_ERROR(CheckApplies({.bits = bits}, "layers.0.mlp.up_proj"),
                "layers.0.mlp.up_proj: expected 2 to 8 bits, found " + std::to_string(bits));
  }
}

TEST_CASE("scheme: a group has inputs", "[scheme]") {
  CHECK_NOTHROW(CheckApplies({.group = 1}, "w"));
  CHECK_ERROR(CheckApplies({.group = 0}, "w"), "w: expected a group of at least 1 input, found 0");
}

TEST_CASE("scheme: the group counts only where groups are used", "[scheme]") {
  for (Granularity granularity : {Granularity::kTensor, Granularity::kRow, Granularity::kColumn}) {
    CHECK_NOTHROW(CheckApplies({.granularity = granularity, .group = 0}, "w"));
  }
}

}  // namespace
}  // namespace quantref
