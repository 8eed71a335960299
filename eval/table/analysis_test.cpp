#include "eval/table/analysis.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "eval/stats/stats.h"
#include "eval/testing/sample_record.h"
#include "eval/testing/table_lab.h"
#include "harness/base/error.h"
#include "harness/base/rng.h"

namespace quantref {
namespace {

using testing::TableLab;
using testing::TableSample;

struct MadeAnalysis {
  TableSpec spec;
  TableRecords records;
  AnalysisTable table;
};

MadeAnalysis MakeAnalysis(const TableLab& lab, const std::string& name,
                          const std::string& more = "") {
  MadeAnalysis made;
  made.spec = ReadTableSpec(
      lab.Spec("title: An analysis\nrecords: [records]\nanalysis: " + name + "\n" + more).string());
  made.records = ReadTableRecords(made.spec, 2);
  made.table = Analyze(made.spec, made.records, 2);
  return made;
}

// The figures behind the names of the row that has this name in any of its columns.
std::vector<std::string> FiguresOf(const AnalysisTable& table, const std::string& name) {
  for (const auto& row : table.rows) {
    const auto names_end = row.begin() + static_cast<std::ptrdiff_t>(table.names);
    if (std::find(row.begin(), names_end, name) != names_end) return {names_end, row.end()};
  }
  FAIL("no row " << name);
  return {};
}

TEST_CASE("analysis spec: it has no rows and cells of its own, and fields for what it needs") {
  const TableLab lab;
  const std::string head = "title: a\nrecords: [records]\n";
  const auto read = [&](const std::string& yaml) { return ReadTableSpec(lab.Spec(yaml).string()); };
  const TableSpec spec = read(head + "analysis: coverage\n");
  CHECK(spec.analysis == "coverage");
  const std::vector<std::string> fields = spec.Fields();
  CHECK(std::count(fields.begin(), fields.end(), "accuracy.kl_independent_se") == 1);
  CHECK_ERROR(read(head + "analysis: covrage\n"), "table.yaml:3: analysis", "coverage");
  CHECK_ERROR(read(head + "analysis: coverage\nrows: [method]\n"), "table.yaml:4: rows",
              "its own rows");
}

TEST_CASE("analysis standard_errors: by window over by token, as records have them") {
  TableLab lab;
  nlohmann::json record = TableSample("rtn", 0.05, 0.004);
  record["accuracy"]["delta_nll_independent_se"] = 0.0005;
  lab.Add(record);
  const MadeAnalysis made = MakeAnalysis(lab, "standard_errors");
  const TableRecord& stored = made.records.records[0];
  const double by_window =
      MeanInterval(DifferenceBlocks(stored.stored.window_nll, stored.stored.reference_window_nll,
                                    stored.stored.window_scored))
          ->standard_error;
  const std::vector<std::string> figures = FiguresOf(made.table, "ΔNLL");
  CHECK(std::stod(figures[1]) == 0.0005);
  CHECK(std::stod(figures[2]) == Approx(by_window).epsilon(0.005));
  CHECK(std::stod(figures[3]) == Approx(by_window / 0.0005).margin(0.005));
  CHECK(made.table.answers[0].find("ΔNLL " + figures[3]) != std::string::npos);
  // KL without an error by token has no row: nothing is made up.
  CHECK(made.table.rows.size() == 1);
}

TEST_CASE(
    "analysis coverage: as many columns as the text has room for, refused where it has none") {
  TableLab lab;
  nlohmann::json record = TableSample("rtn", 0.05, 0.004);
  record["accuracy"]["delta_nll_independent_se"] = 1e-9;
  lab.Add(record);
  const AnalysisTable table = MakeAnalysis(lab, "coverage").table;
  CHECK(table.header.back() == "8");  // of 16 windows
  CHECK(table.header.size() == table.names + 1);
  CHECK(std::stod(FiguresOf(table, "windows drawn")[0]) >= 90);
  CHECK(std::stod(FiguresOf(table, "drawn, by token")[0]) < 50);

  TableLab few;
  nlohmann::json short_text = TableSample("rtn", 0.05, 0.004);
  for (const char* path : {"window_nll", "reference_window_nll", "window_kl", "window_same_top"})
    short_text["accuracy"][path].erase(0);
  short_text["protocol"]["window_scored"].erase(0);
  short_text["protocol"]["windows"] = 15;
  short_text["accuracy"].erase("ppl");
  few.Add(short_text);
  CHECK_ERROR(MakeAnalysis(few, "coverage"), "expected 16 windows or more, found 15");
}

// ΔNLL of a cell that was calibrated on so many samples of a text by a seed.
void AddCalibrated(TableLab& lab, const std::string& text, size_t samples, size_t seed,
                   double nats) {
  nlohmann::json record =
      TableSample("gptq", nats, 0.001 * static_cast<double>(1 + seed),
                  "c-" + text + "-n" + std::to_string(samples) + "-" + std::to_string(seed));
  record["calibration"]["dataset"] = text;
  record["calibration"]["samples"] = samples;
  record["calibration"]["length"] = 256;
  record["calibration"]["seed"] = seed;
  lab.Add(record);
}

TEST_CASE("analysis variance_components: seeds, amounts and texts have what they were given") {
  TableLab lab;
  for (const char* text : {"wikitext-2", "sample"}) {
    for (const size_t samples : {4u, 16u}) {
      for (const size_t seed : {0u, 1u, 2u}) {
        const double of_text = text[0] == 's' ? 0.01 : -0.01;
        const double of_amount = samples == 4 ? 0.02 : -0.02;
        const double of_seed = 0.001 * (static_cast<double>(seed) - 1);
        AddCalibrated(lab, text, samples, seed, 0.1 + of_text + of_amount + of_seed);
      }
    }
  }
  lab.Add(TableSample("rtn", 0.2, 0.003));  // calibrates on nothing, and is left out below
  const AnalysisTable table =
      MakeAnalysis(lab, "variance_components", "where: {method: [\"!rtn\"]}\n").table;
  const auto deviation = [&](const char* effect) { return std::stod(FiguresOf(table, effect)[2]); };
  CHECK(std::stod(FiguresOf(table, "seeds at 4 x 256")[0]) == Approx(0.12).margin(2e-5));
  CHECK(deviation("seeds at 4 x 256") == Approx(0.001).margin(2e-5));
  CHECK(deviation("seeds at 16 x 256") == Approx(0.001).margin(2e-5));
  CHECK(deviation("seeds, at all amounts alike") == Approx(0.001).margin(2e-5));
  CHECK(deviation("seeds by amount") == Approx(0).margin(2e-5));
  CHECK(deviation("amounts") == Approx(0.02 * std::sqrt(2)).margin(2e-5));
  CHECK(deviation("texts") == Approx(0.01 * std::sqrt(2)).epsilon(0.01));
  CHECK(FiguresOf(table, "texts")[1] == "1");
  CHECK(table.answers.size() == 1);
}

TEST_CASE("analysis variance_components: what is not balanced is refused by name") {
  TableLab lab;
  for (const size_t seed : {0u, 1u}) AddCalibrated(lab, "sample", 4, seed, 0.1);
  AddCalibrated(lab, "sample", 16, 0, 0.1);
  CHECK_ERROR(MakeAnalysis(lab, "variance_components"), "16 x 256 of sample validation, seed 1");
  TableLab none;
  none.Add(TableSample("fp16"));
  CHECK_ERROR(MakeAnalysis(none, "variance_components"), "two seeds or more");
}

TEST_CASE("analysis arithmetic: other ways beside the first, window by window") {
  TableLab lab;
  nlohmann::json first = TableSample("rtn", 0.05, 0.004, "floor");
  nlohmann::json other = TableSample("rtn", 0.05, 0.004, "floor-scalar");
  for (nlohmann::json* record : {&first, &other}) {
    (*record)["environment"]["isa"] = record == &first ? "avx2" : "scalar";
    (*record)["environment"]["blas_core"] = "Haswell";
    (*record)["environment"]["threads"] = 1;
  }
  double& moved = other["accuracy"]["window_nll"][3].get_ref<double&>();
  const double scored = other["protocol"]["window_scored"][3];
  moved += 1e-6 * scored;
  other["accuracy"].erase("ppl");
  lab.Add(first);
  CHECK_ERROR(MakeAnalysis(lab, "arithmetic"), "measured in two ways or more");
  lab.Add(other);
  const AnalysisTable table = MakeAnalysis(lab, "arithmetic").table;
  const std::vector<std::string> same = FiguresOf(table, "avx2, Haswell kernels of BLAS, 1 thread");
  CHECK(same[2] == "0 of 16");
  CHECK(same[4] == "0");
  const std::vector<std::string> apart =
      FiguresOf(table, "scalar, Haswell kernels of BLAS, 1 thread");
  CHECK(apart[2] == "1 of 16");
  CHECK(apart[4] == "1.0e-06");
}

TEST_CASE("analysis: Markdown, CSV and text say the same, other formats are refused") {
  TableLab lab;
  nlohmann::json record = TableSample("rtn", 0.05, 0.004);
  record["accuracy"]["delta_nll_independent_se"] = 0.0005;
  const std::string id = lab.Add(record);
  const MadeAnalysis made = MakeAnalysis(lab, "standard_errors", "note: And more.\n");
  const auto as = [&](TableFormat format) {
    return AnalysisAs(made.table, made.spec, made.records, format);
  };
  const std::string markdown = as(TableFormat::kMarkdown);
  CHECK(markdown.starts_with("| model | protocol | scheme | method | quantity | mean |"));
  CHECK(markdown.find("\n- **By how much") != std::string::npos);
  CHECK(markdown.find("And more.") != std::string::npos);
  CHECK(markdown.find("record " + id) != std::string::npos);
  CHECK(as(TableFormat::kCsv).find("\nwikilm,") != std::string::npos);
  CHECK(as(TableFormat::kText).find("error by window") != std::string::npos);
  CHECK_ERROR(as(TableFormat::kLatex), "markdown, csv or text");
}

}  // namespace
}  // namespace quantref
