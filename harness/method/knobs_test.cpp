#include "harness/method/knobs.h"

#include <array>
#include <catch2/catch.hpp>

namespace quantref {
namespace {

constexpr std::array<Knob, 4> kDeclared = {{
    {"flag", "a flag", Knob::Kind::kFlag, 1},
    {"other", "another", Knob::Kind::kFlag, 0},
    {"count", "a count", Knob::Kind::kCount, 20, 1, 1000},
    {"real", "a real", Knob::Kind::kReal, 0.25, -1, 2},
}};

TEST_CASE("knobs: have their defaults until they are set", "[knobs]") {
  Knobs knobs(kDeclared);
  CHECK(knobs.Flag("flag"));
  CHECK_FALSE(knobs.Flag("other"));
  CHECK(knobs.Count("count") == 20);
  CHECK(knobs.Real("real") == 0.25);
  knobs.Set("flag", 0);
  knobs.Set("other", 1);
  knobs.Set("count", 7);
  CHECK_FALSE(knobs.Flag("flag"));
  CHECK(knobs.Flag("other"));
  CHECK(knobs.Count("count") == 7);
  CHECK(knobs.Real("real") == 0.25);  // what was not set
}

TEST_CASE("knobs: both ends of a range belong to it", "[knobs]") {
  Knobs knobs(kDeclared);
  for (const double end : {-1.0, 2.0}) {
    knobs.Set("real", end);
    CHECK(knobs.Real("real") == end);
  }
  for (const double end : {1.0, 1000.0}) {
    knobs.Set("count", end);
    CHECK(static_cast<double>(knobs.Count("count")) == end);
  }
}

TEST_CASE("knobs: are equal where their values are", "[knobs]") {
  Knobs one(kDeclared), other(kDeclared);
  CHECK(one == other);
  one.Set("real", 0.5);
  CHECK_FALSE(one == other);
  other.Set("real", 0.5);
  CHECK(one == other);
}

TEST_CASE("knobs: say what was declared", "[knobs]") {
  CHECK(Knobs().declared().empty());
  const Knobs knobs(kDeclared);
  REQUIRE(knobs.declared().size() == 4);
  CHECK(knobs.declared()[2].name == "count");
  CHECK(knobs.declared()[2].most == 1000);
}

}  // namespace
}  // namespace quantref
