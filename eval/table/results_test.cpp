#include "eval/table/results.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "eval/table/results_cells.h"
#include "eval/testing/table_lab.h"

namespace quantref {
namespace {

using testing::Contains;
using testing::TableLab;
using testing::TableSample;

using Json = nlohmann::json;

Results Read(const std::vector<Json>& records) {
  Results results;
  for (const Json& record : records) results.push_back(ParseResult(record.dump(), "a record"));
  return results;
}

// Of the table of changes, the cell's row.
std::string RowOf(const Results& results, const std::string& method) {
  const std::string text = ResultText(results, {.columns = {"change"}});
  const size_t at = text.find("\n" + method + " ");
  return text.substr(at + 1, text.find('\n', at + 1) - at - 1);
}

TEST_CASE("results: what was read stands above the table of records") {
  Json record = TableSample("rtn");
  record["protocol"].update({{"bos", false}, {"too_much_unknown", true}, {"unknown_share", 0.5}});
  record["protocol"]["unknown_bytes_share"] = 0.2;
  record["calibration"].update({{"dataset", "sample"}, {"split", "validation"}, {"samples", 7}});
  record["calibration"].update({{"length", 2048}, {"distinct_tokens", 9012}});
  const std::string text = ResultText(Read({record}), {});
  INFO(text);
  for (const char* part :
       {"gptq-2048 without BOS", "UNKNOWN TOKENS: 50.0 % of the test text's tokens, 20.0 % of its",
        "calibrated on sample validation, 7 x 2048 tokens, 9,012 distinct\n"})
    CHECK(Contains(text, part));
}

TEST_CASE("results: every stamp of a record is said in words beside the table") {
  Json record = TableSample("rtn", 0.05, 0.01);
  testing::AddSpeed(record, 100);
  record["path"] = "simulated";
  record["throughput"]["busy"] = true;
  record["dataset"].update({{"name", "sample"}, {"substituted_sample", true}});
  record["protocol"].update({{"cut_from_windows", 177}, {"stopped_early", false}});
  record["calibration"].update({{"contaminated", true},
                                {"overlap_with_test", 0.25},
                                {"is_test_text", true},
                                {"substituted_sample", true},
                                {"text_tokens", 5000},
                                {"cut_from_samples", 512}});
  record["config"]["resolved"]["calibration"] = {{"samples", 512}, {"length", 2048}};
  record["simulated_vs_kernel"] = {{"failed", true}};
  record["layers"] = Json::array({{{"name", "layers.0.mlp.up_proj"},
                                   {"method", "rtn"},
                                   {"asked", "gptq"},
                                   {"note", "no samples"}}});
  const std::string text = ResultText(Read({record}), {});
  INFO(text);
  for (const char* line :
       {"\nPARTIAL: the first 16 of 177 windows; not comparable with whole-text figures\n",
        "\nNOT WIKITEXT: the data set could not be had, so the bundled sample (sample.test.raw) is "
        "used.\n",
        "\ncalibrated on wikitext-2 validation, 128 x 2048 tokens of 5,000 (asked for: 512 x 2048) "
        "(NOT WIKITEXT: the bundled sample)\nCONTAMINATED: calibrated on the text that is "
        "measured; 25.0 % of the measured windows' runs of 50 characters were seen in "
        "calibration\n",
        "\nrtn: GATE FAILED: kernels and decoded weights differ too much\n",
        "\nrtn: layers.0.mlp.up_proj has the codes of rtn, not of gptq: no samples\n",
        "\n~ decodes codes to FP32 for every product", "\n* BUSY machine"})
    CHECK(Contains(text, line));
}

TEST_CASE("results: the best, and what is not distinguishable from it or from the reference") {
  // Of alternating sign, and no two with the same errors.
  const auto cell = [](const char* method, double nats, double noise) {
    return TableSample(method, nats, noise);
  };
  const Results results =
      Read({cell("fp16", 0, 0), cell("rtn", 0.05, 0.001), cell("gptq", 0.02, 0.002),
            cell("awq", 0.0202, 0.004), cell("none", 0.0001, 0.004)});
  INFO(ResultText(results, {}));
  CHECK(RowOf(results, "none").ends_with("= fp16, best"));
  CHECK(RowOf(results, "rtn").ends_with("]"));
  CHECK(RowOf(results, "gptq").ends_with("]"));
}

TEST_CASE("results: of ties the one of the lower loss is named the best") {
  const Results results =
      Read({TableSample("fp16"), TableSample("rtn", 0.05, 0.001), TableSample("awq", 0.0202, 0.004),
            TableSample("gptq", 0.02, 0.002)});
  INFO(ResultText(results, {}));
  CHECK(RowOf(results, "gptq").ends_with("]  best"));
  CHECK(RowOf(results, "awq").ends_with("]  = best"));
  CHECK(RowOf(results, "rtn").ends_with("]"));
}

// Fewer than eight windows have no intervals, so nothing tells cells apart.
TEST_CASE("results: of too few windows neither the best nor its like are told") {
  const auto few = [](const char* method, double nats) {
    Json record = TableSample(method, nats, nats / 10);
    const auto cut = [](Json& values) { values.erase(values.begin() + 7, values.end()); };
    for (auto& [name, values] : record["accuracy"].items()) {
      if (values.is_array() && values.size() == 16) cut(values);
    }
    cut(record["protocol"]["window_scored"]);
    record["protocol"]["windows"] = 7;
    for (const char* sum : {"ppl", "ppl_ci95", "ppl_ratio_ci95", "delta_nll_ci95", "kl_ci95"})
      record["accuracy"].erase(sum);
    return record;
  };
  const Results results = Read({few("fp16", 0), few("rtn", 0.5), few("gptq", 0.02)});
  const std::string text = ResultText(results, {});
  INFO(text);
  CHECK_FALSE(Contains(text, "best  "));
  CHECK_FALSE(Contains(text, "= best"));
  CHECK(Contains(text, "where windows are too few for an interval, no best is told"));
  CHECK_FALSE(Contains(ResultText(results, {.columns = {"ppl"}}), "no best is told"));
  const std::string markdown = ResultsAs(results, TableFormat::kMarkdown);
  for (const char* mark : {"†", "| **"}) CHECK_FALSE(Contains(markdown, mark));
}

TEST_CASE("results: one cell alone is no contest") {
  const std::string text = ResultText(Read({TableSample("fp16"), TableSample("rtn", 0.05, 0.001)}),
                                      {.columns = {"change"}});
  INFO(text);
  CHECK_FALSE(Contains(text, "best"));
}

TEST_CASE("results: the best is told where the change of the NLL is not") {
  std::vector<Json> records = {TableSample("fp16"), TableSample("rtn", 0.05, 0.001),
                               TableSample("gptq", 0.02, 0.002)};
  for (Json& record : records) record["accuracy"].erase("delta_nll");
  const Results results = Read(records);
  CHECK(RowOf(results, "gptq").ends_with("]  best"));
}

// The numbers are those of the table in the terminal: one engine makes both.
TEST_CASE("results: in the formats of specs, with what tells the rows apart") {
  Json awq = TableSample("awq", 0.02, 0.002);
  awq["calibration"].update({{"seed", 5}, {"seeds", {{"seeds", {0, 5}}}}});
  Json fp16 = TableSample("fp16"), rtn = TableSample("rtn", 0.05, 0.001);
  for (Json* record : {&fp16, &rtn, &awq}) testing::AddSpeed(*record, 100);
  rtn["throughput"]["decode_tokens_s"][0]["vs_fp16"] = 1.25;
  const Results results = Read({fp16, rtn, awq});
  const std::string markdown = ResultsAs(results, TableFormat::kMarkdown);
  const std::string row = RowOf(results, "rtn");
  INFO(markdown << row);
  CHECK(Contains(markdown, "What quantization does to "));
  CHECK(Contains(markdown, "| weights | method | seed | bits/weight | PPL | ΔPPL (%) |"));
  CHECK(Contains(markdown, "| decode (× FP16) |"));
  CHECK(Contains(markdown, "| 1.25 ["));
  CHECK(Contains(markdown, "| **0.0200 ± 0.0012** |"));  // marked as a spec's cells are
  const size_t bracket = row.find('['), value = row.rfind(' ', bracket - 2) + 1;
  CHECK(Contains(markdown, "| " + row.substr(value, row.find(']') + 1 - value)));
}

TEST_CASE("results: what is in doubt is neither the best nor like the reference") {
  Json doubtful = TableSample("file", 0.0001, 0.004);
  doubtful["model_effective_bits"] = 4.5;
  doubtful["candidate"] = {{"name", "file"},
                           {"format", "gptq v1"},
                           {"disk_bytes", 1},
                           {"changed_norms", 0},
                           {"layer_bits", {4.5}},
                           {"types", Json::array()},
                           {"notes", {{{"what", "MISREAD"}, {"count", 1}, {"doubtful", true}}}}};
  const Results results = Read({TableSample("fp16", 0, 0), doubtful,
                                TableSample("rtn", 0.05, 0.001), TableSample("gptq", 0.02, 0.002)});
  INFO(ResultText(results, {}));
  CHECK(RowOf(results, "file").ends_with("]  in doubt"));
  CHECK(RowOf(results, "gptq").ends_with("]  best"));
}

TEST_CASE("results: records of several runs are several tables, the oldest first") {
  TableLab lab;
  const std::string older = lab.Add(TableSample("fp16")) + ".json";
  const std::string newer = lab.Add(TableSample("rtn", 0.05, 0.01)) + ".json";
  std::string text;
  for (const Results& run :
       ReadResults({lab / ("records/" + newer), lab / ("records/" + older)}, 1))
    text += ResultText(run, {});
  INFO(text);
  const size_t first = text.find("\nfp16 "), second = text.find("\nrtn ");
  CHECK(first < second);
  CHECK(text.find("\nmethod ", first) < second);
}

TEST_CASE("results: records of one run are one table, whichever seconds they were written in") {
  TableLab lab;
  std::vector<std::filesystem::path> files;
  for (nlohmann::json record :
       {TableSample("fp16"), TableSample("rtn", 0.05, 0.01)}) {  // a second apart
    record["run"] = "0123456789abcdef";
    files.push_back(lab / ("records/" + lab.Add(record) + ".json"));
  }
  const std::vector<Results> runs = ReadResults(files, 1);
  REQUIRE(runs.size() == 1);
  CHECK(runs[0].size() == 2);
}

}  // namespace
}  // namespace quantref
