#include "harness/io/json_file.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <string>

#include "harness/testing/testing.h"

namespace quantref {
namespace {

using namespace std::string_literals;
using testing::TempDir;

std::string Nested(size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); }

TEST_CASE("json: what is valid is parsed", "[json]") {
  const nlohmann::json parsed =
      ParseJson(R"({"a": [1, -2, 3.5, true, null], "b": {"a": "\u00e9é"}})", "f");
  CHECK(parsed["a"][2] == 3.5);
  CHECK(parsed["b"]["a"] == "éé");
  CHECK(ParseJson("7", "f") == 7);
}

TEST_CASE("json: a syntax error names line and column", "[json]") {
  CHECK_ERROR(ParseJson("{\n  \"a\": 1,\n  \"b\": }\n", "some.json"),
              "some.json:3:8: invalid JSON");
  CHECK_ERROR(ParseJson("", "f"), "f:1:1", "unexpected end of input");
  CHECK_ERROR(ParseJson("{\"a\": [1, 2", "f"), "f:1:12", "unexpected end of input");
  CHECK_ERROR(ParseJson("{} x", "f"), "f:1:4");
  CHECK_ERROR(ParseJson("{} {}", "f"), "f:1:4");
  CHECK_ERROR(ParseJson("[1,]", "f"), "f:1:4");
  CHECK_ERROR(ParseJson("[NaN]", "f"), "f:1:2", "invalid literal");
  CHECK_ERROR(ParseJson("// note\n1", "f"), "f:1:1");
  CHECK_ERROR(ParseJson("\"\\ud800\"", "f"), "f:1:8");
  CHECK_ERROR(ParseJson("\"a\0b\""s, "f"), "f:1:3", "NUL");
  CHECK_ERROR(ParseJson("{}\0 anything"s, "f"), "f:1:3", "NUL");
}

TEST_CASE("json: the parser's own prefixes stay out of the message", "[json]") {
  const std::string message = testing::ErrorMessage([] { ParseJson("[1 2]", "f"); });
  CHECK_THAT(message, !Catch::Contains("exception") && !Catch::Contains("parse error"));
}

TEST_CASE("json: a long token is cut in the message", "[json]") {
  const std::string token(100'000, 'x');
  const std::string text = "[\"" + token + "\x01\"]";
  CHECK(testing::ErrorMessage([&] { ParseJson(text, "f"); }).size() < 1000);
}

TEST_CASE("json: invalid UTF-8 names line and column", "[json]") {
  CHECK_ERROR(ParseJson("{\n\"a\": \"\xff\"}", "f"), "f:2:7: expected UTF-8");
  CHECK_ERROR(ParseJson("\"\xed\xa0\x80\"", "f"), "f:1:2: expected UTF-8");
}

TEST_CASE("json: duplicate keys are refused, with their place", "[json]") {
  CHECK_ERROR(ParseJson(R"({"a": 1, "a": 2})", "f"), "f, at \"a\": duplicate key");
  CHECK_ERROR(ParseJson(R"({"a": [{"x": 1}, {"b": {}, "x": 3, "b": 0}]})", "f"), "at \"a.b\"");
  CHECK_ERROR(ParseJson(R"({"a": 1, "\u0061": 2})", "f"), "duplicate key");
  CHECK_NOTHROW(ParseJson(R"({"a": {"a": [{"a": 1}, {"a": 2}]}, "b": {"a": 1}})", "f"));
}

TEST_CASE("json: nesting is limited", "[json]") {
  CHECK_NOTHROW(ParseJson(Nested(kMaxJsonDepth), "f"));
  CHECK_ERROR(ParseJson(Nested(kMaxJsonDepth + 1), "f"), "nested too deeply", "64");
  CHECK_ERROR(ParseJson(std::string(10'000'000, '['), "f"), "nested too deeply");
}

TEST_CASE("json: a number that no double holds is an error", "[json]") {
  CHECK_ERROR(ParseJson(R"({"a": {"b": 1e999}})", "f"), "f, at \"a.b\"", "1e999");
}

TEST_CASE("json: files", "[json]") {
  const TempDir dir;
  testing::WriteFile(dir / "good.json", "{\"a\": 1}\n");
  testing::WriteFile(dir / "bad.json", "{\n\"a\": }\n");
  CHECK(ReadJsonFile(dir / "good.json")["a"] == 1);
  CHECK_ERROR(ReadJsonFile(dir / "bad.json"), (dir / "bad.json").string() + ":2:6");
  CHECK_ERROR(ReadJsonFile(dir / "none.json"), "none.json", "No such file");
  testing::WriteFile(dir / "huge.json", "");
  std::filesystem::resize_file(dir / "huge.json", kMaxJsonFileBytes + 1);
  CHECK_ERROR(ReadJsonFile(dir / "huge.json"), "too large");
}

TEST_CASE("json: Quoted makes any bytes printable", "[json]") {
  CHECK(Quoted("plain é") == "\"plain é\"");
  CHECK(Quoted("a\"b\n\x1b[31m") == R"("a\"b\n\u001b[31m")");
  CHECK(Quoted("\xff") == "\"\uFFFD\"");
  CHECK(Quoted(std::string(5000, 'x')).size() == 105);
}

}  // namespace
}  // namespace quantref
