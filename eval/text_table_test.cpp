#include "eval/text_table.h"

#include <catch2/catch.hpp>
#include <limits>
#include <string>

namespace quantref {
namespace {

TEST_CASE("text_table: left columns flush left, the others flush right, no trailing spaces") {
  CHECK(RenderTable({"method", "PPL"}, {{"fp16", "15.3"}, {"smoothquant", "7"}}, 1) ==
        "method        PPL\n"
        "-----------------\n"
        "fp16         15.3\n"
        "smoothquant     7\n");
  CHECK(RenderTable({"a", "b"}, {{"long", "x"}}, 2) ==
        "a     b\n"
        "-------\n"
        "long  x\n");
  CHECK(RenderTable({"a", ""}, {{"x", ""}}, 2) == "a\n---\nx\n");
}

TEST_CASE("text_table: widths count characters, not bytes") {
  CHECK(RenderTable({"n", "v"}, {{"Zürich ±", "1"}, {"Zurich --", "22"}}, 1) ==
        "n           v\n"
        "-------------\n"
        "Zürich ±    1\n"
        "Zurich --  22\n");
}

TEST_CASE("text_table: a table may have no rows") {
  CHECK(RenderTable({"a", "bc"}, {}, 1) == "a  bc\n-----\n");
}

TEST_CASE("WithThousands groups digits by three") {
  CHECK(WithThousands(0) == "0");
  CHECK(WithThousands(999) == "999");
  CHECK(WithThousands(1000) == "1,000");
  CHECK(WithThousands(362319) == "362,319");
  CHECK(WithThousands(1234567) == "1,234,567");
  CHECK(WithThousands(std::numeric_limits<uint32_t>::max()) == "4,294,967,295");
}

}  // namespace
}  // namespace quantref
