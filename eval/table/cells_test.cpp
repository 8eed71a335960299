#include "eval/table/cells.h"

#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <string>

#include "eval/record/schema.h"
#include "eval/table/natural_order.h"
#include "eval/testing/table_lab.h"

namespace quantref {
namespace {

using testing::AddSpeed;
using testing::TableLab;
using testing::TableSample;
using Json = nlohmann::json;

CellMark MarkOf(const Table& table, const std::string& method, size_t column = 0) {
  for (size_t r = 0; r < table.rows.size(); ++r) {
    if (table.rows[r][0] == method) return table.cells[r][column]->mark;
  }
  FAIL("no row " << method);
  return CellMark::kNone;
}

std::string MakeError(TableLab& lab, const std::string& yaml) {
  return testing::ErrorMessage([&] { lab.Make(yaml); });
}

constexpr const char* kByMethod = "rows: [method]\ncells: [ppl, kl_mean]\n";

TEST_CASE("table: bold only what no other ties with") {
  TableLab lab;
  lab.Add(TableSample("fp16"));
  lab.Add(TableSample("rtn", 0.06, 0.004));
  lab.Add(TableSample("gptq", 0.02, 0.005));
  const Table& clear = lab.Make(kByMethod);
  CHECK(MarkOf(clear, "gptq") == CellMark::kBest);
  CHECK(MarkOf(clear, "gptq", 1) == CellMark::kBest);
  CHECK(MarkOf(clear, "rtn") == CellMark::kNone);
  CHECK(MarkOf(clear, "fp16") == CellMark::kNone);  // the reference does not compete
  CHECK(clear.unmarked.empty());

  lab.Add(TableSample("awq", 0.0201, -0.02));  // better here, worse there: a tie with gptq
  const Table& tied = lab.Make(kByMethod);
  CHECK(MarkOf(tied, "gptq") == CellMark::kTied);
  CHECK(MarkOf(tied, "awq") == CellMark::kTied);
  CHECK(MarkOf(tied, "rtn") == CellMark::kNone);
}

TEST_CASE("table: what rounding alone sets apart is tied, as what is equal") {
  TableLab lab;
  lab.Add(TableSample("a", 0.02, 0.005));
  lab.Add(TableSample("b", 0.02 + 5e-6, 0.005));
  lab.Add(TableSample("c", 0.02, 0.005));
  const Table& table = lab.Make(kByMethod);
  for (const char* method : {"a", "b", "c"}) CHECK(MarkOf(table, method) == CellMark::kTied);
}

TEST_CASE("table: no best where cells cannot be paired") {
  TableLab lab;
  lab.Add(TableSample("rtn", 0.06, 0.004));
  Json other = TableSample("gptq", 0.02, 0.005);
  SECTION("other windows") {
    Json& protocol = other["protocol"];
    protocol["cut_from_windows"] = 20;
    for (int w = 0; w < 16; ++w) protocol["window_index"].push_back(w + 2);
    lab.Add(other);
    const Table& table = lab.Make(kByMethod);
    CHECK(MarkOf(table, "gptq") == CellMark::kNone);
    CHECK(table.unmarked.contains("the windows differ"));
  }
  SECTION("another reference") {
    other["accuracy"]["reference_window_nll"][3] = 310.0;
    lab.Add(other);
    CHECK(lab.Make(kByMethod).unmarked.contains("the references differ"));
  }
  SECTION("another model") {
    other["model"]["sha256"] = std::string(64, 'f');
    lab.Add(other);
    CHECK(lab.Make(kByMethod).unmarked.contains("the models differ"));
  }
}

TEST_CASE("table: cells are compared within equal fields, or along rows") {
  TableLab lab;
  for (const int bits : {4, 3}) {
    for (const std::string method : {"rtn", "gptq"}) {
      Json record = TableSample(method, (method == "rtn" ? 0.06 : 0.02) * (7 - bits), 0.004,
                                "int" + std::to_string(bits));
      record["scheme"]["bits"] = bits;
      lab.Add(record);
    }
  }
  const auto best = [](const Table& table) {
    std::string where;
    for (size_t r = 0; r < table.rows.size(); ++r) {
      for (size_t c = 0; c < table.columns.size(); ++c) {
        if (table.cells[r][c] && table.cells[r][c]->mark == CellMark::kBest)
          where += std::to_string(r) + std::to_string(c) + " ";
      }
    }
    return where;
  };
  const std::string rows = "rows: [{field: bits, order: [4, 3]}, method]\ncells: [ppl]\n";
  CHECK(best(lab.Make(rows)) == "00 ");  // natural order puts gptq before rtn
  CHECK(best(lab.Make(rows + "compare: {within: [bits]}\n")) == "00 20 ");
  const std::string pivot = "rows: [bits]\ncolumns: [method]\ncells: [ppl]\n";
  CHECK(best(lab.Make(pivot + "compare: {along: row}\n")) == "00 10 ");
}

TEST_CASE("table: speeds are compared with those of the same run on an idle machine") {
  TableLab lab;
  Json fp16 = TableSample("fp16"), rtn = TableSample("rtn", 0.06), gptq = TableSample("gptq", 0.02);
  const std::string spec = "rows: [method]\ncells: [decode, {metric: decode_vs_fp16}, prefill]\n";
  AddSpeed(fp16, 100);
  AddSpeed(rtn, 200);
  SECTION("faster") {
    rtn["throughput"]["decode_tokens_s"][0]["vs_fp16"] = 2.0;
    AddSpeed(gptq, 150);
    for (const Json& record : {fp16, rtn, gptq}) lab.Add(record);
    const Table& table = lab.Make(spec);
    CHECK(MarkOf(table, "rtn") == CellMark::kBest);
    CHECK(MarkOf(table, "gptq") == CellMark::kNone);
    const TableCell& ratio = *table.cells[2][1];
    CHECK(ratio.number.value == 2.0);
    CHECK(*ratio.number.low < 2.0);
    CHECK(*ratio.number.high > 2.0);
    CHECK_FALSE(table.cells[0][1]);  // FP16 beside itself
  }
  SECTION("as often as a config may ask for") {
    AddSpeed(gptq, 150);
    for (Json* record : {&fp16, &rtn, &gptq}) {
      for (const char* rates : {"prefill_tokens_s", "decode_tokens_s"}) {
        Json& point = (*record)["throughput"][rates][0];
        for (size_t i = point["samples"].size(); i < kMostRepetitions; ++i)
          point["samples"].push_back(point["samples"][i % 5]);
      }
      lab.Add(*record);
    }
    const Table& table = lab.Make(spec);
    CHECK(MarkOf(table, "rtn") == CellMark::kBest);
    rtn["throughput"]["decode_tokens_s"][0]["samples"].push_back(1.0);
    lab.Add(rtn);
    CHECK_ERROR(lab.Make(spec), "decode_tokens_s[0].samples", "a list of 1 to 1000 numbers");
  }
  SECTION("as fast") {
    AddSpeed(gptq, 200.1);
    for (const Json& record : {fp16, rtn, gptq}) lab.Add(record);
    const Table& table = lab.Make(spec);
    CHECK(MarkOf(table, "rtn") == CellMark::kTied);
    CHECK(MarkOf(table, "gptq") == CellMark::kTied);
  }
  SECTION("another run: ratios alone") {
    AddSpeed(gptq, 150, 1);
    for (const Json& record : {fp16, rtn, gptq}) lab.Add(record);
    CHECK(lab.Make("rows: [method]\ncells: [decode_vs_fp16]\n").rows.size() == 3);
  }
  SECTION("busy") {
    AddSpeed(gptq, 150);
    gptq["throughput"]["busy"] = true;
    for (const Json& record : {fp16, rtn, gptq}) lab.Add(record);
    CHECK(lab.Make(spec).unmarked.contains("the machine was busy"));
  }
  SECTION("another machine") {
    AddSpeed(gptq, 150);
    gptq["environment"]["cpu"] = "another CPU";
    for (const Json& record : {fp16, rtn, gptq}) lab.Add(record);
    CHECK(testing::MissingPart(MakeError(lab, spec), {"would mix speeds of", "another CPU",
                                                      "00000000feed0000", "within"}) == "");
    lab.Make("rows: [cpu, method]\ncells: [decode]\ncompare: {within: [cpu]}\n");
  }
}

// Two configs, each with its FP16 reference, timed in two runs.
TableLab& TwoRuns() {
  static TableLab lab;
  static const bool added = [] {
    for (int run = 0; run < 2; ++run) {
      const std::string config = "config" + std::to_string(run);
      Json fp16 = TableSample("fp16", 0, 0, config);
      Json cell = TableSample(run == 0 ? "rtn" : "gptq", 0.02, 0.005, config);
      AddSpeed(fp16, run == 0 ? 150 : 197, run);
      AddSpeed(cell, run == 0 ? 258 : 585, run);
      cell["throughput"]["decode_tokens_s"][0]["vs_fp16"] = run == 0 ? 1.72 : 2.97;
      for (Json* record : {&fp16, &cell}) {
        (*record)["run"] = "run" + std::to_string(run);
        lab.Add(*record);
      }
    }
    return true;
  }();
  REQUIRE(added);
  return lab;
}

constexpr const char* kSpeeds = "rows: [method]\ncells: [decode, {metric: decode_vs_fp16}]\n";

TEST_CASE("table: absolute speeds of several runs in one column are refused") {
  CHECK(testing::MissingPart(MakeError(TwoRuns(), kSpeeds),
                             {"would mix speeds of several runs", "of commit aaaaaaaaaaaa at 2026",
                              "decode_vs_fp16", "several_runs: stamp"}) == "");
  const Table& ratios = TwoRuns().Make("rows: [method]\ncells: [{metric: decode_vs_fp16}]\n");
  CHECK(ratios.cells[2][0]->number.value == 1.72);  // fp16, gptq, rtn
  // Each beside the FP16 of its own run, in whose interval it lies.
  CHECK(*ratios.cells[2][0]->number.low < 1.73);
  CHECK(*ratios.cells[2][0]->number.high > 1.71);
  CHECK(*ratios.cells[1][0]->number.low > 2.9);
}

TEST_CASE("table: stamped, speeds of several runs show no FP16 that is not of all") {
  const Table& table = TwoRuns().Make(std::string(kSpeeds) + "several_runs: stamp\n");
  CHECK_FALSE(table.cells[0][0]);
  REQUIRE(table.cells[1][0]);
  CHECK(table.cells[1][0]->stamps.at(0).letter == 'S');
  CHECK(table.cells[1][1]->stamps.empty());  // a ratio is that of one run
}

TEST_CASE("table: a run in the rows tells speeds apart, each beside its own FP16") {
  const Table& table = TwoRuns().Make("rows: [run, method]\ncells: [decode]\n");
  REQUIRE(table.rows.size() == 4);
  CHECK(table.cells[0][0]->number.value == Approx(150.3));
  CHECK(table.cells[1][0]->number.value == Approx(258.516));
  CHECK(table.cells[2][0]->number.value == Approx(197.394));
  // Of one run, the FP16 of that run.
  const Table& one = TwoRuns().Make(std::string(kSpeeds) + "where: {run: run0}\n");
  CHECK(one.cells[0][0]->number.value == Approx(150.3));
}

TEST_CASE("table: models are timed one after another, by one commit") {
  TableLab lab;
  for (int model = 0; model < 2; ++model) {
    Json record = TableSample("rtn", 0.02, 0.005);
    record["model"]["name"] = "model" + std::to_string(model);
    record["model"]["sha256"] = std::string(64, model == 0 ? 'c' : 'd');
    AddSpeed(record, 100, model);
    lab.Add(record);
  }
  const std::string spec = "rows: [model, method]\ncells: [decode]\ncompare: {within: [model]}\n";
  CHECK(lab.Make(spec).rows.size() == 2);
  Json other = TableSample("rtn", 0.02, 0.005);
  other["tool"]["git_commit"] = std::string(40, 'b');
  AddSpeed(other, 100, 2);
  lab.Add(other);
  CHECK(MakeError(lab, spec).find("speeds of several runs") != std::string::npos);
}

TEST_CASE("table: two models of one name are two, one model under two names is one") {
  TableLab lab;
  lab.Add(TableSample("rtn", 0.02, 0.005));
  Json other = TableSample("rtn", 0.03, 0.005);
  other["model"]["sha256"] = std::string(64, 'f');
  lab.Add(other);
  CHECK(testing::MissingPart(MakeError(lab, kByMethod),
                             {"two records claim one cell", "wikilm (weights ffffffffffff)",
                              "wikilm (weights 222222222222)"}) == "");
  TableLab moved;
  Json renamed = TableSample("rtn", 0.02, 0.005);
  renamed["model"]["name"] = "elsewhere/wikilm";
  moved.Add(TableSample("rtn", 0.02, 0.005));
  const std::string newest = moved.Add(renamed);
  CHECK(moved.Make(kByMethod).cells[0][0]->record->stored.id == newest);
}

TEST_CASE("table: a line that mixes protocols, texts or tokens is refused") {
  TableLab lab;
  lab.Add(TableSample("rtn", 0.06));
  Json other = TableSample("gptq", 0.02);
  const std::string apart = std::string(kByMethod) + "compare: {within: [method]}\n";
  SECTION("protocol") {
    other["protocol"]["name"] = "llamacpp-512";
    lab.Add(other);
    CHECK(testing::MissingPart(MakeError(lab, kByMethod),
                               {"protocols llamacpp-512 and gptq-2048", "00000000feed0000",
                                "00000000feed0001"}) == "");
    CHECK(MakeError(lab, apart).find("protocols") != std::string::npos);
    CHECK(lab.Make("rows: [method]\ncolumns: [protocol]\ncells: [ppl]\n").columns.size() == 2);
  }
  SECTION("tokens") {
    other["protocol"]["token_sha256"] = std::string(64, 'e');
    lab.Add(other);
    CHECK(MakeError(lab, kByMethod).find("tokens eeeeeeeeeeee and 888888888888") !=
          std::string::npos);
    CHECK(MakeError(lab, apart).find("tokens") != std::string::npos);
    // What is not of the text may stand in one column.
    CHECK(lab.Make("rows: [method]\ncells: [effective_bits]\n").rows.size() == 2);
  }
  SECTION("tokens of models with other tokenizers") {
    other["protocol"]["token_sha256"] = std::string(64, 'e');
    other["model"]["name"] = "another";
    lab.Add(other);
    const std::string models = "rows: [model, method]\ncells: [ppl]\n";
    CHECK(MakeError(lab, models).find("tokens") != std::string::npos);
    CHECK(lab.Make(models + "compare: {within: [model]}\n").rows.size() == 2);
  }
  SECTION("text") {
    other["dataset"]["sha256"] = std::string(64, 'e');
    lab.Add(other);
    CHECK(MakeError(lab, kByMethod).find("texts") != std::string::npos);
  }
}

TEST_CASE("table: a reference is one by what it is, whatever its type is called") {
  TableLab lab;
  lab.Add(TableSample("bf16"));
  for (const char* method : {"awq", "gptq"}) lab.Add(TableSample(method, 0.02));
  const auto labels = [&](const std::string& more) {
    std::string text;
    const Table& table = lab.Make("rows: [{field: method" + more + "}]\ncells: [ppl]\n");
    for (const auto& row : table.rows) text += table.spec->rows[0].Label(row[0]) + " ";
    return text;
  };
  CHECK(labels(", order: [fp16, gptq], labels: {fp16: FP16}") == "bf16 gptq awq ");
  CHECK(labels(", order: [reference, gptq], labels: {reference: before}") == "before gptq awq ");
  CHECK(MarkOf(lab.Make(kByMethod), "bf16") == CellMark::kNone);
  for (const char* name : {"fp16", "reference", "bf16"}) {
    INFO(name);
    CHECK(lab.Make(fmt::format("{}where: {{method: [{}, awq]}}\n", kByMethod, name)).rows.size() ==
          2);
    CHECK(lab.Make(fmt::format("{}where: {{method: '!{}'}}\n", kByMethod, name)).rows.size() == 2);
  }
  CHECK(lab.Make(std::string(kByMethod) + "where: {method: '!fp32'}\n").rows.size() == 3);
}

TEST_CASE("table: a ratio to FP16 is one to the samples that the record holds beside it") {
  TableLab lab;
  Json fp32 = TableSample("fp32"), rtn = TableSample("rtn", 0.06);
  AddSpeed(fp32, 100);
  AddSpeed(rtn, 200);
  for (const auto& [record, ratio] : {std::pair(&fp32, 0.8), {&rtn, 1.6}}) {
    Json& decode = (*record)["throughput"]["decode_tokens_s"][0];
    decode["vs_fp16"] = ratio;
    decode["fp16_samples"] = Json::array({125, 125.1, 125.2, 125.3, 125.4});
    lab.Add(*record);
  }
  const Table& table = lab.Make("rows: [method]\ncells: [decode_vs_fp16]\n");
  for (const size_t row : {0, 1}) {
    const Figure& number = table.cells[row][0]->number;
    CHECK(number.value == (row == 0 ? 0.8 : 1.6));
    CHECK(*number.low == Approx(number.value).epsilon(0.01));
    CHECK(*number.high == Approx(number.value).epsilon(0.01));
  }
}

TEST_CASE("table: the newest record of a cell counts, and a place belongs to one") {
  TableLab lab;
  lab.Add(TableSample("rtn", 0.06));
  const std::string newest = lab.Add(TableSample("rtn", 0.05));
  lab.Add(TableSample("fp16"));
  const std::string reference = lab.Add(TableSample("fp16", 0, 0, "other"));
  const Table& table = lab.Make(kByMethod);
  REQUIRE(table.rows.size() == 2);
  CHECK(table.cells[0][0]->record->stored.id == reference);  // measured anew by each config
  CHECK(table.cells[1][0]->record->stored.id == newest);
  lab.Add(TableSample("rtn", 0.04, 0, "other"));
  CHECK(testing::MissingPart(MakeError(lab, kByMethod), {"two records claim one cell", "config",
                                                         "tiny", "other", "where"}) == "");
  CHECK(lab.Make(std::string(kByMethod) + "where: {config: tiny}\n").rows.size() == 2);
}

TEST_CASE("table: rows and columns in order, with what is missing left open") {
  TableLab lab;
  lab.Add(TableSample("fp16"));
  for (const char* method : {"m10", "m9", "gptq"}) lab.Add(TableSample(method, 0.02));
  const Table& table =
      lab.Make("rows: [{field: method, order: [fp16, gptq]}]\ncells: [kl_mean, word_ppl]\n");
  std::string methods;
  for (const auto& row : table.rows) methods += row[0] + " ";
  CHECK(methods == "fp16 gptq m9 m10 ");
  CHECK_FALSE(table.cells[0][0]);
  CHECK(table.cells[1][0]);
  CHECK_FALSE(table.cells[1][1]);
}

TEST_CASE("table: natural order") {
  CHECK(NaturallyLess("a9", "a10"));
  CHECK_FALSE(NaturallyLess("a10", "a9"));
  CHECK(NaturallyLess("a", "a1"));
  CHECK(NaturallyLess("a01", "a1"));  // equal numbers: some order, and always the same
  CHECK_FALSE(NaturallyLess("a1", "a01"));
  CHECK_FALSE(NaturallyLess("x", "x"));
  CHECK(NaturallyLess("int3 g64", "int3 g128"));
  CHECK(NaturallyLess("0", "00"));
  CHECK(NaturallyLess("12345678901234567890123", "12345678901234567890124"));
}

}  // namespace
}  // namespace quantref
