#include "eval/table/questions.h"

#include <catch2/catch.hpp>
#include <string>

#include "eval/table/render.h"
#include "eval/testing/table_lab.h"

namespace quantref {
namespace {

using testing::TableLab;
using testing::TableSample;
using Json = nlohmann::json;

// A cell of these bits and this granularity, so many nats above the reference; its KL is as much.
Json Cell(const std::string& method, int bits, const std::string& granularity, double nats,
          double noise) {
  Json record = TableSample(method, nats, noise, "int" + std::to_string(bits) + granularity);
  record["scheme"] = {{"name", "made up"}, {"bits", bits}, {"granularity", granularity}};
  if (granularity == "group") record["scheme"]["group"] = 64;
  return record;
}

// RTN and GPTQ at 4 and 3 bits; rows are twice as good as columns, of GPTQ at 3 bits as bad.
void FillQuestions(TableLab& lab) {
  lab.Add(TableSample("fp16"));
  for (const int bits : {4, 3}) {
    for (const std::string method : {"rtn", "gptq"}) {
      const double nats = (method == "rtn" ? 0.06 : 0.02) * (7 - bits);
      const bool tie = method == "gptq" && bits == 3;
      lab.Add(Cell(method, bits, "row", nats, 0.004));
      lab.Add(Cell(method, bits, "column", tie ? nats : 2 * nats, tie ? -0.03 : 0.004));
    }
  }
}

constexpr const char* kRows =
    "rows: [reach, {field: method, labels: {rtn: RTN}}]\n"
    "columns: [{field: bits, labels: {\"4\": 4 bits}}]\ncells: [kl_mean]\nquestions:\n";

std::string Answer(TableLab& lab, const std::string& question) {
  const Table& table = lab.Make(std::string(kRows) + "- " + question + "\n");
  REQUIRE(table.answers.size() == 1);
  return table.answers[0].text;
}

TEST_CASE("questions: pairs are decided case by case by their interval") {
  TableLab lab;
  FillQuestions(lab);
  const std::string each =
      "{ask: Better, cells: {reach: column}, than: {reach: row}, each: [method, bits], ";
  const std::string kl = Answer(lab, each + "metric: kl_mean}");
  INFO(kl);
  CHECK(kl.starts_with("No in 3 of 4 (KL gptq, 4 bits: × 2.0"));
  CHECK(kl.find("; RTN, 3: × 2.0") != std::string::npos);
  CHECK(kl.find(" Open in 1 of 4 (KL gptq, 3: × 1.0") != std::string::npos);
  const std::string better =
      Answer(lab,
             "{ask: Better, cells: {reach: row}, than: {reach: column}, each: [method, bits], "
             "metric: delta_ppl}");
  INFO(better);
  CHECK(better.starts_with("Yes in 3 of 4 (PPL gptq, 4 bits: -5.8"));  // exp(-0.06) - 1
  CHECK(better.find("RTN, 3: -21.3") != std::string::npos);            // exp(-0.24) - 1
}

TEST_CASE("questions: what all cases agree on is said in words") {
  TableLab lab;
  FillQuestions(lab);
  const std::string question =
      "{ask: Better, cells: {reach: column, method: rtn}, than: {reach: row, method: rtn}, each: "
      "[bits], metric: ppl, yes: Columns., no: Rows.}";
  const std::string answer = Answer(lab, question);
  INFO(answer);
  CHECK(answer.starts_with("No in all 2 (PPL 3: +27.1"));  // exp(0.24) - 1
  CHECK(answer.ends_with(" %). Rows."));
}

TEST_CASE("questions: bounds are decided by the figure's own interval") {
  TableLab lab;
  FillQuestions(lab);
  const auto ask = [&](const std::string& bounds) {
    return Answer(lab,
                  "{ask: Within, cells: {reach: row, method: gptq, bits: \"4\"}, metric: "
                  "delta_ppl, " +
                      bounds + "}");
  };
  CHECK(ask("from: 5, to: 7").starts_with("Yes (ΔPPL (%) +6.18"));
  CHECK(ask("to: 5").starts_with("No (ΔPPL (%) +6.18"));
  CHECK(ask("from: 6.18, to: 7").starts_with("Open (ΔPPL (%) +6.18"));
}

TEST_CASE("questions: nothing is paired that cannot be") {
  TableLab lab;
  Json other = Cell("rtn", 4, "row", 0.06, 0.004);
  other["accuracy"]["reference_window_nll"][3] = 310.0;
  lab.Add(other);
  CHECK(Answer(lab, "{ask: Better, cells: {reach: column}, than: {reach: row}, metric: ppl}") ==
        "Not measured.");
  lab.Add(Cell("rtn", 4, "column", 0.02, 0.005));
  CHECK(Answer(lab, "{ask: Better, cells: {reach: column}, than: {reach: row}, metric: ppl}") ==
        "Unknown (the references differ).");
  lab.Add(Cell("gptq", 4, "column", 0.02, 0.005));
  CHECK_ERROR(Answer(lab, "{ask: Better, cells: {reach: column}, than: {reach: row}, metric: ppl}"),
              "two records claim one case of 'Better'",
              "name a field that tells them apart in 'each'");
}

TEST_CASE("questions: many cases are told by their range, Markdown has a line each") {
  TableLab lab;
  for (int i = 2; i <= 8; ++i) {
    lab.Add(Cell("rtn", i, "row", 0.01 * i, 0.004));
    lab.Add(Cell("rtn", i, "group", 0.005, 0.004));
  }
  const std::string question =
      "{ask: \"Groups, are they?\", cells: {reach: g64}, than: {reach: row}, each: [bits], metric: "
      "kl_mean}";
  const std::string answer = Answer(lab, question);
  INFO(answer);
  CHECK(answer.starts_with("Yes in all 7 (KL × 0.06"));
  CHECK(answer.ends_with(" (2))."));
  CHECK(answer.find("(8) to × 0.25") != std::string::npos);
  const Table& table = lab.Make(std::string(kRows) + "- " + question + "\n");
  const std::string markdown = MarkdownTable(table);
  CHECK(markdown.find("\n\n- **Groups, are they?** " + answer + "\n\n<!--") != std::string::npos);
  CHECK(TextTable(table, std::nullopt).find("Groups, are they? " + answer) != std::string::npos);
}

TEST_CASE("questions: mistakes of a spec are told") {
  TableLab lab;
  FillQuestions(lab);
  const auto refuse = [&](const std::string& question, const std::string& part) {
    CHECK_ERROR(Answer(lab, "{ask: Q, " + question + "}"), "table.yaml", part);
  };
  refuse("cells: {reach: row}, metric: ppl", "either cells to compare with, or bounds");
  refuse("cells: {reach: row}, than: {reach: column}, to: 1, metric: ppl", "either cells");
  refuse("cells: {reech: row}, to: 1, metric: ppl", "reech");
  refuse("cells: {reach: row}, to: 1, metric: pppl", "did you mean");
  refuse("cells: {reach: row}, to: 1, metric: effective_bits", "one with an interval");
  refuse("cells: {reach: row}, than: {reach: column}, metric: decode", "whose windows");
  refuse("cells: {reach: row}, from: 2, to: 1, metric: ppl", "a number from 2 on");
  refuse("to: 1, metric: ppl", "which cells");
}

}  // namespace
}  // namespace quantref
