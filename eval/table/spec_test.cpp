#include "eval/table/spec.h"

#include <catch2/catch.hpp>
#include <string>

#include "eval/support/files.h"
#include "eval/testing/table_lab.h"

namespace quantref {
namespace {

using testing::TableLab;
using testing::TableSample;

constexpr const char* kHead = "title: A table\nrecords: [records]\n";
constexpr const char* kLeast = "rows: [method]\ncells: [ppl]\n";

TableSpec Read(const TableLab& lab, const std::string& yaml) {
  return ReadTableSpec(lab.Spec(yaml).string());
}

TEST_CASE("table spec: every key") {
  const TableLab lab;
  const TableSpec spec = Read(lab, std::string(kHead) +
                                       "label: tab:a-1\nnote: And more.\n"
                                       "where: {config: int4, method: [\"*gptq\", \"!awq*\"]}\n"
                                       "rows: [bits, {field: method, name: Method, order: [rtn], "
                                       "labels: {rtn: RTN}}]\n"
                                       "columns: [model]\n"
                                       "cells:\n- ppl\n- {metric: decode, name: speed, digits: 3, "
                                       "uncertainty: interval, marks: false, tokens: 8, "
                                       "threads: 2}\n"
                                       "compare: {along: row, within: [bits], where: {method: "
                                       "\"!rtn\"}}\noutputs: {latex: a.tex, html: b/c.html}\n");
  CHECK(spec.label == "tab:a-1");
  CHECK(spec.note == "And more.");
  REQUIRE(spec.where.size() == 2);
  CHECK(spec.where[1].Passes("gptq"));
  CHECK(spec.where[1].Passes("smoothquant+gptq"));
  CHECK_FALSE(spec.where[1].Passes("awq+gptq"));
  CHECK_FALSE(spec.where[1].Passes("rtn"));
  CHECK(FieldFilter{"method", {"!fp16"}}.Passes("rtn"));  // refusals alone let the rest pass
  CHECK(spec.rows[1].Label("rtn") == "RTN");
  CHECK(spec.rows[1].Label("none") == "-");
  CHECK_FALSE(spec.cells[0].digits);
  CHECK(spec.cells[1].header == "speed");
  CHECK(spec.cells[1].digits == 3);
  CHECK(spec.cells[1].uncertainty == UncertaintyStyle::kInterval);
  CHECK_FALSE(spec.cells[1].marks);
  CHECK(spec.cells[1].tokens == 8);
  CHECK(spec.compare_rows);
  CHECK(spec.compete[0].globs == std::vector<std::string>{"!rtn"});
  CHECK(spec.outputs.at(TableFormat::kHtml) == lab / "b/c.html");
  CHECK(spec.Fields() == std::vector<std::string>{"bits", "config", "method", "model"});
}

TEST_CASE("table spec: what is wrong is named with its place and the nearest name") {
  const TableLab lab;
  const std::string head(kHead);
  CHECK_ERROR(Read(lab, head + kLeast + "colums: [model]\n"), "table.yaml:5: colums",
              "did you mean 'columns'?");
  CHECK_ERROR(Read(lab, head + "rows: [method]\ncells: [pll]\n"), "unknown metric 'pll'",
              "did you mean 'ppl'?");
  CHECK_ERROR(Read(lab, head + "rows: [methods]\ncells: [ppl]\n"), "unknown field 'methods'",
              "did you mean 'method'?");
  CHECK_ERROR(Read(lab, head + kLeast + "where: {confg.name: [a]}\n"), "unknown field 'confg.name'",
              "did you mean 'config.name'?");
  CHECK_ERROR(Read(lab, head + kLeast + "where: {accuracy.pll: [a]}\n"),
              "unknown field 'accuracy.pll'", "did you mean 'accuracy.ppl'?");
  CHECK_ERROR(Read(lab, head + kLeast + "where: {config: {a: b}}\n"), "a name or a list of names");
  CHECK_ERROR(Read(lab, head + "rows: [{field: method, lables: {a: b}}]\ncells: [ppl]\n"),
              "rows[0].lables", "did you mean 'labels'?");
  CHECK_ERROR(Read(lab, head + "rows: [method]\ncells: [{metric: ppl, digit: 2}]\n"),
              "cells[0].digit", "did you mean 'digits'?");
  CHECK_ERROR(Read(lab, head + "rows: [method]\ncells: [{metric: ppl, threads: 2}]\n"),
              "ppl is no speed");
  CHECK_ERROR(Read(lab, head + "rows: [method, method]\ncells: [ppl]\n"), "stands twice");
  CHECK_ERROR(Read(lab, head + kLeast + "columns: [method]\n"), "a field of the rows already");
  CHECK_ERROR(Read(lab, head + kLeast + "label: a}b\n"), "label");
  CHECK_ERROR(Read(lab, head + kLeast + "compare: {along: rows}\n"), "did you mean 'row'?");
  CHECK_ERROR(Read(lab, head + kLeast + "outputs: {tex: a.tex}\n"), "outputs.tex");
  CHECK_ERROR(Read(lab, kLeast), "title");
  CHECK_ERROR(Read(lab, std::string("title: a\n") + kLeast), "records");
  CHECK_ERROR(Read(lab, head + "cells: [ppl]\n"), "rows");
  CHECK_ERROR(Read(lab, head + "rows: [method]\n"), "cells");
}

TEST_CASE("table files: names, wildcards and folders") {
  const testing::TempDir dir;
  for (const char* name :
       {"a.json", "b.txt", "2026/b.json", "2026/01/c.json", ".old/d.json", "2026/.e.json"})
    testing::WriteFile(dir / name, "{}");
  const auto count = [&](const std::string& pattern) {
    return MatchFiles(dir.path(), pattern).size();
  };
  CHECK(count("a.json") == 1);
  CHECK(count(".") == 3);
  CHECK(count("*.json") == 1);
  CHECK(count("**/*.json") == 3);
  CHECK(count("20*/*") == 1);
  CHECK(count("2026") == 2);
  CHECK(count("2026/../a.json") == 1);
  CHECK(count((dir / "a.json").string()) == 1);
  CHECK_ERROR(count("c*.json"), "c*.json", "expected records, found none");
  CHECK_ERROR(count("nowhere/**"), "nowhere");
}

TEST_CASE("table records: a malformed record is named with field and value") {
  TableLab lab;
  nlohmann::json record = TableSample("rtn", 0.06);
  const auto fails_with = [&](std::initializer_list<std::string_view> parts) {
    lab.Add(record);
    const std::string message = testing::ErrorMessage([&] { lab.Make(kLeast); });
    INFO(message);
    CHECK(testing::MissingPart(message, parts) == "");
  };
  SECTION("not a number") {
    record["accuracy"]["kl_mean"] = "0.1";
    fails_with({"feed0000.json: accuracy.kl_mean", "expected a number", "\"0.1\""});
  }
  SECTION("an interval") {
    record["accuracy"]["kl_ci95"] = {0.2, 0.1};
    fails_with({"accuracy.kl_ci95", "the two ends of an interval"});
  }
  SECTION("a perplexity that is not that of its windows") {
    record["accuracy"]["ppl"] = record["accuracy"]["ppl"].get<double>() - 0.01;
    fails_with({"accuracy.ppl", "as accuracy.window_nll says"});
  }
  SECTION("windows") {
    record["accuracy"]["window_kl"].push_back(1);
    fails_with({"accuracy.window_kl", "a list of 16, one a window", "a list of 17"});
  }
  SECTION("speeds") {
    testing::AddSpeed(record, 100);
    record["throughput"]["decode_tokens_s"][0]["samples"] = {1, -2};
    fails_with({"throughput.decode_tokens_s[0].samples", "above 0"});
  }
  SECTION("no record at all") {
    record = {{"schema", 1}};
    testing::WriteFile(lab / "records/a.json", record.dump());
    CHECK_ERROR(lab.Make(kLeast), "records/a.json: id: expected text, found nothing");
  }
}

TEST_CASE("table records: none is left") {
  TableLab lab;
  lab.Add(TableSample("rtn", 0.06));
  CHECK_ERROR(lab.Make(std::string(kLeast) + "where: {method: awq}\n"), "no record is left",
              "1 were read");
  CHECK_ERROR(lab.Make("rows: [protocol.window_scored]\ncells: [ppl]\n"),
              "unknown field 'protocol.window_scored'");
  CHECK(lab.Make("rows: [config.resolved.quantize.weights.group]\ncells: [ppl]\n").rows[0][0] ==
        "16");
}

}  // namespace
}  // namespace quantref
