#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "eval/table/check.h"
#include "eval/testing/process.h"
#include "eval/testing/run_eval_lab.h"
#include "eval/testing/table_lab.h"

// The program: what it writes, and its check of tables that were written before.

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::AddSpeed;
using testing::Contains;
using testing::FileText;
using testing::ProcessResult;
using testing::RunEvalLab;
using testing::TableLab;
using testing::TableSample;
using Strings = std::vector<std::string>;

constexpr const char* kTableSpec =
    "title: A table of 100 % & more\nrecords: [records]\nrows: [method]\ncells: [ppl, {metric: "
    "delta_ppl, uncertainty: interval}, decode]\noutputs: {latex: a.tex, markdown: a.md, csv: "
    "a.csv, html: a.html}\n";

ProcessResult MakeTables(const TableLab& lab, Strings arguments) {
  arguments.insert(arguments.begin(), testing::Program("make_tables"));
  return testing::RunProcess(arguments, {.folder = lab.path()});
}

void FillTables(TableLab& lab) {
  for (const auto& [method, nats] : {std::pair{"fp16", 0.0}, {"rtn", 0.06}, {"gptq", 0.02}}) {
    nlohmann::json record = TableSample(method, nats, nats / 10);
    AddSpeed(record, 100 + 1000 * nats);
    lab.Add(record);
  }
  lab.Spec(kTableSpec);
}

TEST_CASE("make_tables: outputs, one format, a file") {
  TableLab lab;
  FillTables(lab);
  const ProcessResult all = MakeTables(lab, {"table.yaml"});
  INFO(all.err);
  REQUIRE(all.exit_code == 0);
  CHECK(all.out == "a.tex\na.md\na.csv\na.html\n");
  const std::pair<const char*, const char*> formats[] = {
      {"latex", "a.tex"}, {"markdown", "a.md"}, {"csv", "a.csv"}, {"html", "a.html"}};
  for (const auto& [format, file] : formats)
    CHECK(MakeTables(lab, {"table.yaml", "--format", format}).out == FileText(lab / file));
  CHECK(MakeTables(lab, {"table.yaml", "--format", "csv", "--out", "b.csv"}).out.empty());
  CHECK(FileText(lab / "b.csv") == FileText(lab / "a.csv"));
  CHECK(Contains(MakeTables(lab, {"table.yaml", "--format", "text"}).out, "\ngptq "));
  CHECK(MakeTables(lab, {"table.yaml", "--format", "pdf"}).exit_code == 2);
  CHECK(MakeTables(lab, {"none.yaml"}).exit_code == 2);
  CHECK(MakeTables(lab, {"table.yaml", "--check", "--out", "c"}).exit_code == 2);
}

TEST_CASE("make_tables: --records") {
  TableLab lab;
  FillTables(lab);
  const std::string id = lab.Add(TableSample("awq", 0.01, 0.001));
  const ProcessResult one =
      MakeTables(lab, {"table.yaml", "--format", "csv", "--records", "records/" + id + ".json"});
  INFO(one.err);
  CHECK(one.exit_code == 0);
  CHECK(one.out.find("awq") != std::string::npos);
  CHECK(one.out.find("gptq") == std::string::npos);
  CHECK(MakeTables(lab, {"table.yaml", "--records", "elsewhere"}).exit_code == 2);
  const std::string other = lab.Add(TableSample("other", 0.03, 0.001));
  const ProcessResult two =
      MakeTables(lab, {"--records", "records/" + id + ".json", "--records",
                       "records/" + other + ".json", "table.yaml", "--format", "csv"});
  INFO(two.err);
  CHECK(two.exit_code == 0);
  CHECK(two.out.find("awq") != std::string::npos);
  CHECK(two.out.find("other") != std::string::npos);
  CHECK(two.out.find("gptq") == std::string::npos);
}

TEST_CASE("make_tables: --check") {
  TableLab lab;
  FillTables(lab);
  const ProcessResult missing = MakeTables(lab, {"table.yaml", "--check", "--format", "latex"});
  CHECK(missing.exit_code == 1);
  CHECK(missing.out == "a.tex is missing\n");
  REQUIRE(MakeTables(lab, {"table.yaml"}).exit_code == 0);
  const ProcessResult good = MakeTables(lab, {"table.yaml", "--check"});
  CHECK(good.exit_code == 0);
  CHECK(good.out.empty());

  SECTION("a number pasted by hand") {
    std::string text = FileText(lab / "a.md");
    text.replace(text.find("| gptq | **") + 11, 1, "9");
    testing::WriteFile(lab / "a.md", text);
    const ProcessResult bad = MakeTables(lab, {"table.yaml", "--check"});
    CHECK(bad.exit_code == 1);
    CHECK(bad.out.find("a.md is out of date:\n4: -| gptq | **9") == 0);
    CHECK(bad.out.find("\n4: +| gptq | **") != std::string::npos);
    CHECK(MakeTables(lab, {"table.yaml", "--check", "--format", "latex"}).exit_code == 0);
  }
  SECTION("a newer record") {
    lab.Add(TableSample("gptq", 0.03, 0.004));
    CHECK(MakeTables(lab, {"table.yaml", "--check"}).exit_code == 1);
  }
  SECTION("a record is gone") {
    fs::remove(lab / "records/00000000feed0002.json");
    const ProcessResult gone = MakeTables(lab, {"table.yaml", "--check"});
    CHECK(gone.exit_code == 2);
    CHECK(gone.err.find("names record 00000000feed0002, which is not among the 2") !=
          std::string::npos);
    fs::remove_all(lab / "records");
    CHECK(MakeTables(lab, {"table.yaml", "--check"}).exit_code == 2);
  }
  SECTION("nothing to check") {
    lab.Spec("title: a\nrecords: [records]\nrows: [method]\ncells: [ppl]\n");
    CHECK(MakeTables(lab, {"table.yaml", "--check"}).exit_code == 2);
    CHECK(MakeTables(lab, {"table.yaml"}).out.find("| method | PPL |") == 0);
  }
}

TEST_CASE("make_tables: the LaTeX compiles") {
  if (std::system("command -v pdflatex > /dev/null 2>&1") != 0) {
    WARN("no pdflatex: not tested");
    return;
  }
  TableLab lab;
  FillTables(lab);
  nlohmann::json odd = TableSample("a_b&c|<d>\"%$#{}~^\\[x]±×Δ†α", 0.0201, -0.02);
  odd["calibration"]["contaminated"] = true;
  lab.Add(odd);
  REQUIRE(MakeTables(lab, {"table.yaml"}).exit_code == 0);
  testing::WriteFile(lab / "paper.tex",
                     "\\documentclass{article}\n\\usepackage{booktabs,graphicx,siunitx}\n"
                     "\\begin{document}\n\\input{a.tex}\n\\end{document}\n");
  const ProcessResult latex = testing::RunProcess(
      {"/usr/bin/env", "pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"},
      {.folder = lab.path()});
  if (latex.out.find("siunitx.sty' not found") != std::string::npos ||
      latex.out.find("booktabs.sty' not found") != std::string::npos) {
    WARN("no siunitx or booktabs: not tested");
    return;
  }
  INFO(latex.out);
  CHECK(latex.exit_code == 0);
  CHECK(latex.out.find("Missing character") == std::string::npos);
  CHECK(latex.out.find("Overfull \\hbox") == std::string::npos);
  CHECK(fs::exists(lab / "paper.pdf"));
}

TEST_CASE("table check: a difference is short, ids are found where they stand alone") {
  CHECK(ShortDiff("a\nb\n", "a\nb\n") == "");
  CHECK(ShortDiff("a\nb\n", "a\nc\nd\n") == "2: -b\n2: +c\n3: +d\n");
  CHECK(ShortDiff("a\n", "a") == "the ends of the lines differ\n");
  std::string many, others;
  for (int i = 0; i < 50; ++i) {
    many += "a\n";
    others += "b\n";
  }
  CHECK(ShortDiff(many, others).find("and 42 more lines\n") != std::string::npos);
  CHECK(ShortDiff(std::string(1000, 'x'), "").size() < 400);
  CHECK(NamedRecords("% record 0123456789abcdef fedcba9876543210\n") ==
        Strings{"0123456789abcdef", "fedcba9876543210"});
  CHECK(NamedRecords("0.0123456789012345, 0123456789abcdef0, 0123456789abcdeg, 3.0123456789012345")
            .empty());
}

// From the line with the columns' names on.
std::string FromHeader(const std::string& text) {
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
  CHECK(FromHeader(shown.out) == FromHeader(run.out));
  CHECK(Contains(shown.out, " windows, "));
  const ProcessResult columns = make({"--columns", "ppl"});
  CHECK(Contains(columns.out, "PPL"));
  CHECK_FALSE(Contains(columns.out, "decode tok/s"));
  CHECK(Contains(make({"--columns", "pppl"}).err, "(did you mean 'ppl'?)"));
  CHECK(make({"--format", "text"}).out == shown.out);
  CHECK(Contains(make({"--format", "markdown"}).out, "| weights | method | bits/weight | PPL "));
  CHECK(Contains(make({"--format", "csv", "--columns", "ppl"}).err, "--columns: "));
  CHECK(Contains(make({"table.yaml"}).err, "expected one spec, or records"));
}

TEST_CASE("make_tables: a format of specs takes the records of one run alone") {
  TableLab lab;
  FillTables(lab);  // each made in another second
  const std::string err = MakeTables(lab, {"records", "--format", "latex"}).err;
  CHECK(Contains(err, "--format latex: expected the records of one run"));
  CHECK(Contains(err, "found those of 3 runs"));
  CHECK(MakeTables(lab, {"records", "--format", "text"}).exit_code == 0);
}

}  // namespace
}  // namespace quantref
