#include "harness/io/utf8.h"

#include <catch2/catch.hpp>
#include <cstdint>
#include <string>

namespace quantref {
namespace {

using namespace std::string_literals;

// The encoding as its definition has it, for code points of any kind.
std::string Encoded(uint32_t code) {
  const auto byte = [](uint32_t value) { return static_cast<char>(value); };
  const char last = byte(0x80 | (code & 0x3f));
  const char second_last = byte(0x80 | ((code >> 6) & 0x3f));
  const char third_last = byte(0x80 | ((code >> 12) & 0x3f));
  if (code < 0x80) return {byte(code)};
  if (code < 0x800) return {byte(0xc0 | (code >> 6)), last};
  if (code < 0x10000) return {byte(0xe0 | (code >> 12)), second_last, last};
  return {byte(0xf0 | (code >> 18)), third_last, second_last, last};
}

TEST_CASE("utf8: every code point but the surrogates is valid", "[utf8]") {
  std::string all;
  for (uint32_t code = 0; code <= 0x10ffff; ++code) {
    const bool is_surrogate = 0xd800 <= code && code <= 0xdfff;
    const bool is_valid = !FindInvalidUtf8(Encoded(code)).has_value();
    if (is_valid == is_surrogate) FAIL("code point " << code);
    if (!is_surrogate) all += Encoded(code);
  }
  CHECK_FALSE(FindInvalidUtf8(all).has_value());
}

TEST_CASE("utf8: nothing above U+10FFFF is valid", "[utf8]") {
  for (uint32_t code = 0x110000; code <= 0x1fffff; code += 0x3ff) {
    CHECK(FindInvalidUtf8(Encoded(code)) == 0u);
  }
}

TEST_CASE("utf8: the offset is where the ill-formed sequence begins", "[utf8]") {
  CHECK_FALSE(FindInvalidUtf8("").has_value());
  CHECK_FALSE(FindInvalidUtf8("na\xc3\xafve \xe2\x82\xac \xf0\x9f\x98\x80\0 end"s).has_value());
  CHECK(FindInvalidUtf8("ab\x80") == 2u);              // a continuation without a lead
  CHECK(FindInvalidUtf8("ab\xc0\xafz") == 2u);         // '/' in two bytes
  CHECK(FindInvalidUtf8("ab\xc1\xbf") == 2u);          // overlong
  CHECK(FindInvalidUtf8("ab\xe0\x9f\xbf") == 2u);      // overlong
  CHECK(FindInvalidUtf8("ab\xf0\x8f\xbf\xbf") == 2u);  // overlong
  CHECK(FindInvalidUtf8("ab\xed\xa0\x80") == 2u);      // U+D800
  CHECK(FindInvalidUtf8("ab\xf4\x90\x80\x80") == 2u);  // U+110000
  CHECK(FindInvalidUtf8("ab\xf5\x80\x80\x80") == 2u);
  CHECK(FindInvalidUtf8("ab\xff") == 2u);
}

TEST_CASE("utf8: a sequence cut short is invalid, at the end and before other text", "[utf8]") {
  for (const std::string& whole : {"\xc3\xaf"s, "\xe2\x82\xac"s, "\xf0\x9f\x98\x80"s}) {
    for (size_t length = 1; length < whole.size(); ++length) {
      CHECK(FindInvalidUtf8("abc" + whole.substr(0, length)) == 3u);
      CHECK(FindInvalidUtf8("abc" + whole.substr(0, length) + "def") == 3u);
    }
  }
}

}  // namespace
}  // namespace quantref
