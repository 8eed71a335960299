#include "eval/support/markup.h"

#include <catch2/catch.hpp>
#include <string>

namespace quantref {
namespace {

TEST_CASE("markup text: what means something is escaped, what cannot be printed replaced") {
  CHECK(MarkupText("") == "");
  CHECK(MarkupText("a ± b\n'c'") == "a ± b\n'c'");
  CHECK(MarkupText("<script x=\"&\">") == "&lt;script x=&quot;&amp;&quot;&gt;");
  CHECK(MarkupText("&lt;") == "&amp;lt;");
  CHECK(MarkupText("a\x1b[1m\xff") == "a?[1m?");
}

TEST_CASE("base64: the vectors of RFC 4648, and bytes of all values") {
  CHECK(Base64("") == "");
  CHECK(Base64("f") == "Zg==");
  CHECK(Base64("fo") == "Zm8=");
  CHECK(Base64("foo") == "Zm9v");
  CHECK(Base64("foob") == "Zm9vYg==");
  CHECK(Base64("fooba") == "Zm9vYmE=");
  CHECK(Base64("foobar") == "Zm9vYmFy");
  CHECK(Base64(std::string("\xff\x00\xfb\xf0", 4)) == "/wD78A==");
}

}  // namespace
}  // namespace quantref
