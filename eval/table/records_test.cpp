#include "eval/table/records.h"

#include <catch2/catch.hpp>
#include <string>
#include <utility>
#include <vector>

#include "eval/testing/table_lab.h"

namespace quantref {
namespace {

using testing::TableLab;
using testing::TableSample;
using Json = nlohmann::json;

TEST_CASE("table: what has codes is never among the bits of what has none") {
  TableLab lab;
  const auto add = [&](const char* method, Json scheme) {
    Json record = TableSample(method, 0.02, 0.004);
    if (scheme.is_null()) {
      record.erase("scheme");
    } else {
      record["scheme"] = std::move(scheme);
    }
    lab.Add(record);
  };
  add("fp16", {});
  add("gptq", {{"name", "int4 g128 asym"},
               {"bits", 4},
               {"granularity", "group"},
               {"group", 128},
               {"symmetric", false}});
  add("row", {{"name", "int8 row sym"}, {"bits", 8}, {"granularity", "row"}, {"symmetric", true}});
  add("k_m", {{"name", "Q4_K, Q6_K"}, {"granularity", "group"}, {"format", "mixed"}});
  add("budget",
      {{"name", "int3/4 g32"}, {"granularity", "group"}, {"group", 32}, {"symmetric", false}});
  add("both", {{"name", "int8 row sym, Q4_0"}, {"granularity", "mixed"}, {"format", "mixed"}});
  add("plain", {{"name", "F16"}, {"bits", 16}, {"granularity", "none"}});
  add("older", {{"name", "Q8_0"}});
  using Row = std::vector<std::string>;  // method, bits, group, reach, symmetric
  const Table& table =
      lab.Make("rows: [method, bits, group, reach, scheme.symmetric]\ncells: [ppl]\n");
  CHECK(table.rows == std::vector<Row>{{"fp16", "none", "none", "none", "none"},
                                       {"both", "mixed", "mixed", "mixed", "mixed"},
                                       {"budget", "mixed", "32", "g32", "false"},
                                       {"gptq", "4", "128", "g128", "false"},
                                       {"k_m", "mixed", "mixed", "mixed", "mixed"},
                                       {"older", "unknown", "unknown", "unknown", "unknown"},
                                       {"plain", "16", "none", "none", "none"},
                                       {"row", "8", "none", "row", "true"}});
  const Table& four = lab.Make("where: {bits: [none, '4']}\nrows: [bits, method]\ncells: [ppl]\n");
  CHECK(four.rows == std::vector<Row>{{"none", "fp16"}, {"4", "gptq"}});
}

}  // namespace
}  // namespace quantref
