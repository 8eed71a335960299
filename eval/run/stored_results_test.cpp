#include "eval/run/stored_results.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "eval/testing/run_eval_lab.h"
#include "eval/testing/table_lab.h"

namespace quantref {
namespace {

using testing::Contains;
using testing::ProcessResult;
using testing::RunEvalLab;
using testing::TableLab;
using testing::TableSample;

// From the line with the columns' names on.
std::string Table(const std::string& text) {
  const size_t header = text.find("\nmethod ");
  REQUIRE(header != std::string::npos);
  return text.substr(header);
}

TEST_CASE("make_tables: of records alone, the table that run_eval printed of them") {
  const RunEvalLab lab;
  const ProcessResult run =
      lab.Run({lab.config(), "--set", "throughput={kernels: false, prefill: 8, decode: 2}", "--set",
               "quantize.methods=[{method: rtn, label: b, activations: {}}, rtn]"});
  testing::CheckDone(run);
  const auto make = [&](const std::vector<std::string>& arguments) {
    std::vector<std::string> command = {testing::Program("make_tables"), "results/records"};
    command.insert(command.end(), arguments.begin(), arguments.end());
    return testing::RunProcess(command, {.folder = lab.path()});
  };
  const ProcessResult shown = make({});
  INFO(shown.err);
  CHECK(Table(shown.out) == Table(run.out));
  CHECK(Contains(shown.out, " windows, "));
  const ProcessResult columns = make({"--columns", "ppl"});
  CHECK(Contains(columns.out, "PPL"));
  CHECK_FALSE(Contains(columns.out, "decode tok/s"));
  CHECK(Contains(make({"--columns", "pppl"}).err, "(did you mean 'ppl'?)"));
  CHECK(Contains(make({"--format", "csv"}).err, "--format: expected a spec"));
  CHECK(Contains(make({"table.yaml"}).err, "expected one spec, or records"));
}

TEST_CASE("make_tables: what was read stands above the table of records") {
  TableLab lab;
  nlohmann::json record = TableSample("rtn");
  record["protocol"].update({{"bos", false}, {"too_much_unknown", true}, {"unknown_share", 0.5}});
  record["protocol"]["unknown_bytes_share"] = 0.2;
  record["calibration"].update({{"dataset", "sample"}, {"split", "validation"}, {"samples", 7}});
  record["calibration"].update({{"length", 2048}, {"distinct_tokens", 9012}});
  const std::string text =
      StoredResultsText(ReadStoredResults({lab / ("records/" + lab.Add(record) + ".json")}, 1), {});
  INFO(text);
  for (const char* part : {"gptq-2048 without BOS", "UNKNOWN TOKENS: 50.0 % of the text",
                           "calibrated on sample validation, 7 x 2048 tokens, 9,012 distinct"})
    CHECK(Contains(text, part));
}

TEST_CASE("make_tables: records of several runs are several tables, the oldest first") {
  TableLab lab;
  const std::string older = lab.Add(TableSample("fp16")) + ".json";
  const std::string newer = lab.Add(TableSample("rtn", 0.05, 0.01)) + ".json";
  const auto results =
      ReadStoredResults({lab / ("records/" + newer), lab / ("records/" + older)}, 1);
  const std::string text = StoredResultsText(results, {});
  INFO(text);
  const size_t first = text.find("\nfp16 "), second = text.find("\nrtn ");
  CHECK(first < second);
  CHECK(text.find("\nmethod ", first) < second);
}

TEST_CASE("make_tables: records of one run are one table, whichever seconds they were written in") {
  TableLab lab;
  std::vector<std::filesystem::path> files;
  for (nlohmann::json record :
       {TableSample("fp16"), TableSample("rtn", 0.05, 0.01)}) {  // a second apart
    record["run"] = "0123456789abcdef";
    files.push_back(lab / ("records/" + lab.Add(record) + ".json"));
  }
  const auto results = ReadStoredResults(files, 1);
  REQUIRE(results.size() == 1);
  CHECK(results[0].cells.size() == 2);
}

}  // namespace
}  // namespace quantref
