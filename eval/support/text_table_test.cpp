#include "eval/support/text_table.h"

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

std::vector<TextColumn> FourColumns() {
  return {{.name = "method", .header = "method", .cells = {"fp16", "smoothquant"}, .left = true},
          {.name = "ppl", .header = "PPL", .cells = {"15.33 ± 0.55", "15.37"}, .worth = 3},
          {.name = "kl",
           .header = "KL (nats)",
           .cells = {"-", "0.0028 ± 0.0001"},
           .worth = 2,
           .brief_header = "KL",
           .brief_cells = {{"-", "0.0028"}}},
          {.name = "time", .header = "time", .cells = {"2:17", "2:10"}, .worth = 1}};
}

TEST_CASE("text_table: a table fits its lines: abbreviated, then without what is worth least") {
  const auto at = [](std::optional<size_t> width) { return FitTable(FourColumns(), width); };
  CHECK(at(std::nullopt).text ==
        "method                PPL        KL (nats)  time\n"
        "------------------------------------------------\n"
        "fp16         15.33 ± 0.55                -  2:17\n"
        "smoothquant         15.37  0.0028 ± 0.0001  2:10\n");
  CHECK(at(48).text == at(std::nullopt).text);
  CHECK(at(47).text ==
        "method                PPL      KL  time\n"
        "---------------------------------------\n"
        "fp16         15.33 ± 0.55       -  2:17\n"
        "smoothquant         15.37  0.0028  2:10\n");
  CHECK(at(47).left_out.empty());
  CHECK(at(38).left_out == std::vector<std::string>{"time"});
  CHECK(at(25).left_out == std::vector<std::string>{"time", "kl"});
  CHECK(at(8).text == "method\n--------\nfp16\nsmoothq…\n");
}

TEST_CASE("text_table: columns of one name go together") {
  std::vector<TextColumn> columns = FourColumns();
  columns[3].name = "kl";
  CHECK(FitTable(columns, 38).left_out == std::vector<std::string>{"kl"});
  CHECK(FitTable(columns, 38).text.find("2:17") == std::string::npos);
}

TEST_CASE("text_table: lines are wrapped between words, texts cut between characters") {
  CHECK(Wrapped("one two three\n\nfour\n", 9) == "one two\n  three\n\nfour\n");
  CHECK(Wrapped("± ± ± ±", 5) == "± ± ±\n  ±");
  CHECK(Wrapped("unbreakable x", 5) == "unbreakable\n  x");
  CHECK(Wrapped("  as it  is", 80) == "  as it  is");
  CHECK(Wrapped("any length", std::nullopt) == "any length");
  CHECK(Shortened("±±±±", 4) == "±±±±");
  CHECK(Shortened("±±±±", 3) == "±±…");
  CHECK(Shortened("ab", 0) == "");
}

TEST_CASE("text_table: a list wraps what stands beside its names") {
  CHECK(RenderList({{"a", "one"}, {"long", "two three four five six"}}, std::nullopt) ==
        "a     one\nlong  two three four five six\n");
  CHECK(RenderList({{"a", "one"}, {"long", "two three four five six"}}, 26) ==
        "a     one\n"
        "long  two three four five\n"
        "        six\n");
  CHECK(RenderList({{"a", "one"}, {"long", "two three four five six"}}, 25) ==
        "a\n"
        "    one\n"
        "long\n"
        "    two three four five\n"
        "      six\n");
}

TEST_CASE("DecimalsOf shows two digits of a half width") {
  CHECK(DecimalsOf(0.5531) == 2);
  CHECK(DecimalsOf(0.00097) == 5);
  CHECK(DecimalsOf(0.0996) == 2);  // 0.10
  CHECK(DecimalsOf(9.94) == 1);
  CHECK(DecimalsOf(9.96) == 0);  // 10
  CHECK(DecimalsOf(1234.5) == 0);
  CHECK(DecimalsOf(1e-12) == 9);
  CHECK_FALSE(DecimalsOf(0));
  CHECK_FALSE(DecimalsOf(std::numeric_limits<double>::infinity()));
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
