// The parts of a page that show records themselves.

#include "eval/report/records.h"

#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "eval/testing/table_lab.h"

namespace quantref {
namespace {

using Json = nlohmann::json;
using testing::Contains;
using testing::TableLab;
using testing::TableSample;

std::vector<PageRecord> Read(const TableLab& lab, const std::vector<std::string>& ids) {
  std::vector<std::filesystem::path> files;
  for (const std::string& id : ids) files.push_back(lab / ("records/" + id + ".json"));
  return ReadPageRecords(files, {}, 1);
}

TEST_CASE("page records: by cell, of which one is the newest") {
  TableLab lab;
  const std::string older = lab.Add(TableSample("rtn", 0.05, 0.01));
  const std::string newer = lab.Add(TableSample("rtn", 0.06, 0.01));
  const std::string other = lab.Add(TableSample("gptq", 0.02, 0.01));
  const std::vector<PageRecord> records = Read(lab, {older, newer, other});
  REQUIRE(records.size() == 3);
  CHECK(records[0].table.stored.id == other);
  CHECK(records[1].table.stored.id == newer);
  CHECK(records[1].newest);
  CHECK_FALSE(records[2].newest);
  const std::string summary = SummaryHtml(records);
  CHECK(Contains(summary, "<b>3 records</b> of 2 cells (1 older run passed over)"));
}

TEST_CASE(
    "page records: all values are there, long lists by their length, places without folders") {
  TableLab lab;
  Json record = TableSample("rtn", 0.05, 0.01);
  record["model"]["name"] = "/home/somebody/models/tiny";
  const std::vector<PageRecord> records = Read(lab, {lab.Add(record)});
  const auto value = [&](const std::string& path) {
    for (const auto& [name, text] : records[0].values)
      if (name == path) return text;
    return std::string("absent");
  };
  CHECK(value("model.name") == "tiny");
  CHECK(value("accuracy.window_nll") == "(a list of 16)");
  CHECK(value("environment.isa") == "avx2");
  CHECK_FALSE(Contains(RecordsHtml(records), "somebody"));
}

TEST_CASE("page records: what was noticed of a candidate is told in words, doubts as a warning") {
  TableLab lab;
  Json record = TableSample("q4", 0.05, 0.01);
  record["candidate"] = {
      {"name", "q4.gguf"},
      {"notes",
       {{{"what", "odd <names>"}, {"count", 1}},
        {{"what", "probably MISREAD"}, {"count", 3}, {"of", "matrices"}, {"doubtful", true}}}}};
  const std::vector<PageRecord> records = Read(lab, {lab.Add(record)});
  const std::string summary = SummaryHtml(records);
  INFO(summary);
  const std::string doubt = "q4: NUMBERS IN DOUBT: probably MISREAD: 3 matrices";
  CHECK(Contains(summary, "<li><b>X: " + doubt + "</b>, 1 of 1 record</li>"));
  CHECK(Contains(summary, "\">tiny</a> " + doubt + "</li>"));
  CHECK(Contains(summary, "\">tiny</a> q4: odd &lt;names&gt;</li>"));
  const std::string html = RecordsHtml(records);
  CHECK(Contains(html, "<dt>candidate.notes</dt><dd>odd &lt;names&gt;</dd>"));
  CHECK_FALSE(Contains(html, "<dd>(a list of 2)</dd>"));
}

TEST_CASE("page records: figures sort by their values, not by what their texts begin with") {
  TableLab lab;
  const std::vector<PageRecord> records = Read(
      lab, {lab.Add(TableSample("rtn", 0.05, 0.01)), lab.Add(TableSample("gptq", 0.02, 0.01))});
  const double ppl = records[0].table.numbers.at("ppl").value;
  const std::string html = RecordsHtml(records);
  INFO(html);
  CHECK(Contains(html, fmt::format("data-value=\"{}\">{:.4f}</td>", ppl, ppl)));
}

}  // namespace
}  // namespace quantref
