#include "harness/io/json_fields.h"

#include <catch2/catch.hpp>
#include <vector>

#include "harness/io/json_file.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

const nlohmann::json& SomeFields() {
  static const nlohmann::json fields = ParseJson(
      R"({"count": 7, "large": 18446744073709551615, "less": -1, "half": 0.5, "none": null,
          "yes": true, "name": "ö", "list": [0, 3], "mixed": [1, 2.5], "map": {"a": 1}})",
      "f.json");
  return fields;
}

TEST_CASE("json_fields: what is there is given", "[json]") {
  const JsonFields fields(SomeFields(), "f.json");
  CHECK(fields.Has("count"));
  CHECK_FALSE(fields.Has("none"));
  CHECK_FALSE(fields.Has("nothing"));
  CHECK(fields.Count("count", 7, 7) == 7);
  CHECK(fields.Count("large", 0, ~uint64_t{0}) == ~uint64_t{0});
  CHECK(fields.Positive("half") == 0.5);
  CHECK(fields.Positive("count") == 7);
  CHECK(fields.PositiveOr("none", 3) == 3);
  CHECK(fields.Positives("mixed", 2) == std::vector<double>{1, 2.5});
  CHECK(fields.Flag("yes"));
  CHECK(fields.FlagOr("nothing", true));
  CHECK(fields.Text("name") == "ö");
  CHECK(fields.Counts("list") == std::vector<uint64_t>{0, 3});
  CHECK(fields.Object("map").Count("a", 0, 9) == 1);
}

TEST_CASE("json_fields: what is not is an error of place, key and value", "[json]") {
  const JsonFields fields(SomeFields(), "f.json");
  CHECK_ERROR(fields.Count("nothing", 1, 9), "f.json",
              "expected a whole number from 1 to 9 for \"nothing\", found nothing");
  CHECK_ERROR(fields.Count("none", 1, 9), "found nothing");
  CHECK_ERROR(fields.Count("count", 8, 9), "found 7");
  CHECK_ERROR(fields.Count("count", 1, 6), "found 7");
  CHECK_ERROR(fields.Count("less", 0, 9), "found -1");
  CHECK_ERROR(fields.Count("half", 0, 9), "found 0.5");
  CHECK_ERROR(fields.Positive("less"), "a positive number for \"less\", found -1");
  CHECK_ERROR(fields.Positive("name"), R"(found "\u00f6")");
  CHECK_ERROR(fields.Positives("mixed", 3),
              "a list of 3 positive numbers for \"mixed\", found [1,2.5]");
  CHECK_ERROR(fields.Positives("list", 2), "found [0,3]");
  CHECK_ERROR(fields.Positives("half", 1), "a list of 1 positive numbers for \"half\", found 0.5");
  CHECK_ERROR(fields.Flag("count"), "true or false for \"count\", found 7");
  CHECK_ERROR(fields.FlagOr("count", true), "true or false");
  CHECK_ERROR(fields.Text("yes"), "a string for \"yes\", found true");
  CHECK_ERROR(fields.Counts("map"), "a list of whole numbers for \"map\"");
  CHECK_ERROR(fields.Counts("mixed"), "in \"mixed\", found 2.5");
  CHECK_ERROR(fields.Object("list"), "an object for \"list\", found [0,3]");
  CHECK_ERROR(fields.Object("map").Text("b"), "f.json, map", "a string for \"b\"");
  CHECK_ERROR(JsonFields(SomeFields()["list"], "f.json"), "expected an object, found [0,3]");
  const nlohmann::json wide = {{"wide", std::string(200, 'x')}};
  CHECK_ERROR(JsonFields(wide, "f").Flag("wide"), "xxx...");
}

}  // namespace
}  // namespace quantref
