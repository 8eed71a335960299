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

TEST_CASE("table: what not all matrices have is no scheme's, in records of any age") {
  TableLab lab;
  const auto add = [&](const char* method, const Json& scheme, const std::string& other) {
    Json record = TableSample(method, 0.02, 0.004);
    record["scheme"] = scheme;
    record["layers"] =
        Json::array({{{"name", "layers.0.self_attn.q_proj"}, {"scheme", "int4 g128 asym"}},
                     {{"name", "lm_head"}, {"scheme", other}}});
    lab.Add(record);
  };
  Json scheme = {{"name", "int4 g128 asym"},
                 {"bits", 4},
                 {"granularity", "group"},
                 {"symmetric", false},
                 {"group", 128}};
  add("even", scheme, "int4 g128 asym");
  add("older", scheme, "int8 g128 asym");
  scheme["name"] = "int4 g128 asym mixed";
  Json wider = scheme;
  wider.erase("group");
  add("wider", wider, "int4 g64 asym");
  scheme.erase("bits");
  add("mixed", scheme, "int8 g128 asym");
  using Row = std::vector<std::string>;
  const std::string mixed = "int4 g128 asym mixed";
  const Table& table = lab.Make("rows: [method, scheme, weights, bits, reach]\ncells: [ppl]\n");
  CHECK(table.rows == std::vector<Row>{{"even", "int4 g128 asym", "int4 g128 asym", "4", "g128"},
                                       {"mixed", mixed, mixed, "mixed", "g128"},
                                       {"older", mixed, mixed, "unknown", "unknown"},
                                       {"wider", mixed, mixed, "4", "mixed"}});
}

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
