#include "harness/io/json_reader.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "harness/base/error.h"
#include "harness/io/json_file.h"

namespace quantref {
namespace {

using nlohmann::json;

// With every kind of value, and the ends of the kinds of numbers.
constexpr std::string_view kDocument = R"({"text": "a\u00e9é\n\"\\\u0000", "": {}, "empty": [],
 "whole": [0, -0, 1, -1, 9223372036854775807, 9223372036854775808, 18446744073709551615,
  -9223372036854775808],
 "real": [0.0, -0.0, 1.0, 1e3, 2.5E-3, 4.9406564584124654e-324, 1.7976931348623157e308,
  2.7296754946123456789, 0.1, 123456789012345678901234567890.5],
 "flags": [true, false, null], "nested": [[[{"a": [{"a": {"b": 7}}]}]]]})";

// As text that tells real numbers from whole ones, as == does not.
std::string Kinds(const json& value) {
  if (!value.is_structured()) return std::string(value.type_name()) + value.dump();
  std::string kinds;
  for (const auto& [key, item] : value.items())
    kinds += key + (item.is_number_float() ? "~" : "") + ":" + Kinds(item) + ";";
  return kinds;
}

// Nothing where the document is refused.
std::optional<json> Parsed(std::string_view text) {
  try {
    return JsonDocument::Parse(text, "f").root().Copy();
  } catch (const Error&) {
    return std::nullopt;
  }
}

TEST_CASE("json_reader: the value that another parser gives", "[json]") {
  for (const std::string_view text : {kDocument, std::string_view("7"), std::string_view(" [] "),
                                      std::string_view("\"x\""), std::string_view("null")}) {
    const auto value = Parsed(text);
    REQUIRE(value.has_value());
    CHECK(Kinds(*value) == Kinds(json::parse(text)));
  }
  const json number = *Parsed("[1, -1]");
  CHECK(number[0].is_number_unsigned());
  CHECK(!number[1].is_number_unsigned());
}

TEST_CASE("json_reader: values where they lie", "[json]") {
  const JsonDocument document = JsonDocument::Parse(kDocument, "f");
  const JsonValue root = document.root();
  REQUIRE(root.IsMap());
  CHECK(root.Find("text")->Text() == std::string_view("a\u00e9é\n\"\\\0", 9));
  CHECK(root.Find("")->size() == 0);
  CHECK(root.Find("empty")->Items().empty());
  CHECK_FALSE(root.Find("none"));
  CHECK_FALSE(root.Find("text")->Find("text"));
  const std::vector<JsonValue> whole = root.Find("whole")->Items();
  CHECK(whole[2].Natural() == 1);
  CHECK_FALSE(whole[3].Natural());
  CHECK(whole[3].Number() == -1);
  CHECK(whole[6].Natural() == 18446744073709551615u);
  const std::vector<JsonValue> real = root.Find("real")->Items();
  CHECK_FALSE(real[2].Natural());
  CHECK(real[2].Number() == 1);
  CHECK(root.Find("flags")->Items()[0].Flag());
  CHECK(root.Find("flags")->Items()[2].IsNull());
  CHECK(root.Entries()[1].first.empty());
  CHECK(root.Find("nested")->Dump() == R"([[[{"a":[{"a":{"b":7}}]}]]])");
}

TEST_CASE("json_reader: nothing of what is wrong", "[json]") {
  for (const std::string_view text :
       {"", "{", "[1,]", "{} {}", "[NaN]", "[01]", "[1e999]", "\"\\ud800\"", "\"\xff\"", "\"\t\"",
        "{\"a\": 1, \"a\": 2}", "{\"a\": {\"b\": 1, \"\\u0062\": 2}}"}) {
    INFO(text);
    CHECK(!Parsed(text).has_value());
  }
  CHECK(!Parsed(std::string(kMaxJsonDepth + 1, '[') + std::string(kMaxJsonDepth + 1, ']')));
  std::string many = "{";
  for (int key = 0; key < 100; ++key) many += "\"" + std::to_string(key) + "\": 0, ";
  CHECK(Parsed(many + "\"x\": 0}").has_value());
  CHECK(!Parsed(many + "\"7\": 0}").has_value());
}

TEST_CASE("json_reader: whole numbers of more than 64 bits are read as real ones", "[json]") {
  const json value = *Parsed(R"({"z": [18446744073709551616], "a": "é"})");
  CHECK(value["z"][0] == 18446744073709551616.0);
  CHECK(value["a"] == "é");
}

// Bytes of the document replaced, doubled or left out: both parsers take what results, for the same
// value, or neither.
TEST_CASE("json_reader: damaged documents", "[json]") {
  std::mt19937 random(7);
  const std::string_view bytes = "{}[]\",:0e.-\\ \x01\xc3";
  size_t taken = 0;
  for (int round = 0; round < 4000; ++round) {
    std::string text(kDocument);
    const size_t at = random() % text.size();
    switch (random() % 3) {
      case 0:
        text[at] = bytes[random() % bytes.size()];
        break;
      case 1:
        text.insert(at, 1, text[at]);
        break;
      default:
        text.erase(at, 1);
    }
    INFO(text);
    const auto value = Parsed(text);
    if (value) CHECK(Kinds(*value) == Kinds(json::parse(text)));
    taken += value.has_value();
  }
  CHECK(taken > 100);
  CHECK(taken < 3900);
}

}  // namespace
}  // namespace quantref
