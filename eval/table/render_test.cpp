#include "eval/table/render.h"

#include <catch2/catch.hpp>
#include <string>

#include "eval/testing/table_lab.h"

namespace quantref {
namespace {

using testing::AddSpeed;
using testing::TableLab;
using testing::TableSample;
using Json = nlohmann::json;

size_t Occurrences(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

bool Has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// A record that is easy to print: no spread between windows.
Json Plain(const std::string& method, double kl) {
  Json record = TableSample(method, 0.02, 0.005);
  record["accuracy"]["kl_mean"] = kl;
  record["accuracy"]["kl_ci95"] = {kl - 0.01, kl + 0.01};
  return record;
}

constexpr const char* kSpec =
    "rows: [{field: method, name: Method}]\ncells: [{metric: kl_mean, digits: 3}]\n";

TEST_CASE("table text: uncertainty as the spec wants it") {
  TableLab lab;
  lab.Add(Plain("rtn", 0.1234));
  CHECK(Has(MarkdownTable(lab.Make(kSpec)), "| rtn | 0.123 ± 0.010 |"));
  const std::string cells = "rows: [method]\ncells: [{metric: kl_mean, digits: 3, uncertainty: ";
  CHECK(Has(MarkdownTable(lab.Make(cells + "interval}]\n")), "| rtn | 0.123 [0.113, 0.133] |"));
  CHECK(Has(MarkdownTable(lab.Make(cells + "none}]\n")), "| rtn | 0.123 |"));
  const std::string latex = LatexTable(lab.Make(cells + "interval}]\n"));
  CHECK(Has(latex, "\\num{0.123} {[}\\num{0.113}, \\num{0.133}{]}"));
  CHECK(Has(LatexTable(lab.Make(kSpec)), "\\num{0.123 \\pm 0.010}"));
  CHECK(Has(CsvTable(lab.Make(kSpec)), "rtn,kl_mean,0.1234,0.1134,0.1334,,,00000000feed0000,"));
}

TEST_CASE("table as text: as many columns as fit, intervals go first, the best is said to be it") {
  TableLab lab;
  lab.Add(TableSample("rtn", 0.06, 0.005));
  lab.Add(TableSample("gptq", 0.02, 0.002));
  const Table& table = lab.Make(
      "rows: [method]\ncells: [{metric: delta_nll, digits: 3}, {metric: effective_bits}]\n");
  const std::string wide = TextTable(table, std::nullopt);
  INFO(wide);
  CHECK(wide.starts_with("method"));
  CHECK(Has(wide, "\ngptq"));
  CHECK(Has(wide, "+0.020 ± 0.001 best"));
  CHECK(Has(wide, "\nA table.\n"));
  CHECK(Has(wide, "\nBest: the best of its column, where it is no tie"));
  const std::string narrow = TextTable(table, 32);
  INFO(narrow);
  CHECK(Has(narrow, "+0.020 best"));
  CHECK(Has(TextTable(table, 28), "left out, for lines of 28:"));
}

TEST_CASE("table text: a lopsided interval is never ±, in its whole column") {
  TableLab lab;
  Json record = Plain("rtn", 0.1234);
  record["accuracy"]["kl_ci95"] = {0.1204, 0.1834};
  lab.Add(record);
  lab.Add(Plain("gptq", 0.05));
  const Table& table = lab.Make(kSpec);
  CHECK(Has(MarkdownTable(table), "| rtn | 0.123 [0.120, 0.183] "));
  CHECK(Has(MarkdownTable(table), "| gptq | 0.050 [0.040, 0.060] "));
  CHECK(Has(LatexTable(table), "\\num{0.123} {[}\\num{0.120}, \\num{0.183}{]}"));
  CHECK(Has(HtmlTable(table), "0.123 [0.120, 0.183]"));
  CHECK_FALSE(Has(MarkdownTable(table), "±"));
}

TEST_CASE("table text: a perplexity that no double holds is a finite text") {
  TableLab lab;
  Json record = TableSample("rtn", 0.02, 0.005);
  for (Json& nll : record["accuracy"]["window_nll"]) nll = 81200.0;  // 100 scored positions each
  record["accuracy"]["mean_nll"] = 812.0;
  for (const char* key : {"ppl", "ppl_ci95", "ppl_ratio", "ppl_ratio_ci95"})
    record["accuracy"].erase(key);
  record["accuracy"]["delta_nll"] = 809.0;
  SECTION("absent, as records have it") {}
  SECTION("null, as JSON writes an infinity") {
    record["accuracy"]["ppl"] = nullptr;
    record["accuracy"]["ppl_ci95"] = {nullptr, nullptr};
  }
  lab.Add(record);
  const Table& table = lab.Make("rows: [method]\ncells: [ppl, delta_ppl]\n");
  CHECK(Has(MarkdownTable(table), "| rtn | >1e308 | >1e308 |"));
  CHECK(Has(HtmlTable(table), "data-value=\"1.79769"));
}

TEST_CASE("table text: signs and zeros") {
  TableLab lab;
  Json record = TableSample("rtn", 0, 0.005);
  record["accuracy"]["delta_nll"] = -1e-9;
  lab.Add(record);
  const std::string text = MarkdownTable(lab.Make(
      "rows: [method]\ncells: [{metric: delta_nll, uncertainty: none}, effective_bits]\n"));
  CHECK(Has(text, "| rtn | +0.0000 | 4.156 |"));
}

TEST_CASE("table text: best and ties in every format, and the rule in the caption") {
  TableLab lab;
  lab.Add(TableSample("rtn", 0.06, 0.004));
  lab.Add(TableSample("gptq", 0.02, 0.005));
  const Table& clear = lab.Make(kSpec);
  CHECK(Has(MarkdownTable(clear), "| gptq | **"));
  CHECK(Has(LatexTable(clear), "gptq & \\textbf{\\num{"));
  CHECK(Occurrences(HtmlTable(clear), "<td title") == 2);
  CHECK(Occurrences(HtmlTable(clear), "\"><b>") == 1);
  CHECK(Has(CsvTable(clear), ",best,"));
  CHECK(Has(MarkdownTable(clear), "Bold: the best of its column"));
  CHECK_FALSE(Has(MarkdownTable(clear), "†"));
  lab.Add(TableSample("awq", 0.0201, -0.02));
  const Table& tied = lab.Make(kSpec);
  CHECK(Occurrences(MarkdownTable(tied), " † |") == 2);
  CHECK(Occurrences(LatexTable(tied), "}\\rlap{\\textsuperscript{\\ensuremath{\\dagger}}}") == 2);
  CHECK_FALSE(Has(LatexTable(tied), "\\textbf"));
  CHECK(Occurrences(HtmlTable(tied), "&nbsp;†</td>") == 2);
  CHECK(Occurrences(CsvTable(tied), ",tied,") == 2);
  CHECK(Has(MarkdownTable(tied), "†: the best of its column or tied with it; then none is bold"));
}

TEST_CASE("table text: special characters are escaped, records named") {
  TableLab lab;
  Json record = Plain("a_b&c|<d>\"%$#{}~^\\*,-->", 0.1);
  const std::string id = lab.Add(record);
  const Table& table = lab.Make(kSpec);
  CHECK(Has(LatexTable(table),
            "a\\_b\\&c\\textbar{}\\textless{}d\\textgreater{}''\\%\\$\\#\\{\\}"
            "\\textasciitilde{}\\textasciicircum{}\\textbackslash{}*,--\\textgreater{} & "));
  CHECK(Has(LatexTable(table), "\\\\ % record " + id + "\n"));
  const std::string markdown = MarkdownTable(table);
  CHECK(Has(markdown, "| a\\_b&amp;c\\|&lt;d&gt;\"%$#{}\\~^\\\\\\*,--&gt; |"));
  CHECK(Has(markdown, "record " + id));
  CHECK(Occurrences(markdown.substr(markdown.find("<!--")), "-->") == 1);
  CHECK(Has(HtmlPage(table), "a_b&amp;c|&lt;d&gt;&quot;%$#{}~^\\*,--&gt;</th>"));
  CHECK(Has(HtmlPage(table), "<td title=\"record " + id + ", 2026-01-31T12:00:00Z\" "));
  CHECK(Has(CsvTable(table), "\"a_b&c|<d>\"\"%$#{}~^\\*,-->\",kl_mean,0.1,"));
}

TEST_CASE("table text: stamps stand in the cells and in the caption") {
  TableLab lab;
  Json record = Plain("rtn", 0.1);
  AddSpeed(record, 100);
  record["calibration"]["contaminated"] = true;
  record["dataset"]["substituted_sample"] = true;
  record["protocol"]["cut_from_windows"] = 177;
  record["protocol"].update({{"too_much_unknown", true}, {"unknown_share", 0.002}});
  record["protocol"]["unknown_bytes_share"] = 0.25;
  record["protocol"]["bos"] = false;
  record["simulated_vs_kernel"]["failed"] = true;
  record["throughput"]["busy"] = true;
  lab.Add(record);
  const Table& table = lab.Make("rows: [method]\ncells: [kl_mean, effective_bits, decode]\n");
  const std::string markdown = MarkdownTable(table);
  CHECK(Has(markdown, "| 0.100 ± 0.010 (CGNPU) | 4.156 | 100.2 ± 0.1 (B) |"));
  for (const char* text : {"C: CONTAMINATED calibration.", "N: NOT WIKITEXT", "B: timed on a BUSY",
                           "G: GATE FAILED", "P: partial: 16 of 177 windows.",
                           "U: UNKNOWN TOKENS: 25.0 % of the text.", "gptq-2048 without BOS on"})
    CHECK(Has(markdown, text));
  CHECK(Has(LatexTable(table), "\\textsuperscript{CGNPU}"));
  CHECK(Has(HtmlTable(table), "<sup>CGNPU</sup>"));
  CHECK(Has(HtmlTable(table), "; CONTAMINATED calibration;"));
  CHECK(Has(CsvTable(table), ",timed on a BUSY machine,"));
}

TEST_CASE(
    "table text: a candidate whose numbers are in doubt is stamped, one that is told is not") {
  TableLab lab;
  const auto add = [&](const char* method, const Json& note) {
    Json record = Plain(method, 0.1);
    record["candidate"] = {{"name", "file"}, {"notes", Json::array({note})}};
    lab.Add(record);
  };
  add("told", {{"what", "biases that are 0"}, {"count", 7}, {"of", "matrices"}});
  add("v1", {{"what", "probably MISREAD"}, {"count", 14}, {"of", "matrices"}, {"doubtful", true}});
  const Table& table =
      lab.Make("rows: [method]\ncells: [{metric: kl_mean, marks: false}, effective_bits]\n");
  const std::string doubt = "v1: NUMBERS IN DOUBT: probably MISREAD: 14 matrices";
  CHECK(Has(MarkdownTable(table), "| told | 0.100 ± 0.010 | 4.156 |"));
  CHECK(Has(MarkdownTable(table), "| v1 | 0.100 ± 0.010 (X) | 4.156 |"));
  CHECK(Has(MarkdownTable(table), "X: " + doubt + "."));
  CHECK(Has(LatexTable(table), "\\textsuperscript{X}"));
  CHECK(Has(LatexTable(table), "X: " + doubt + "."));
  CHECK(Has(HtmlTable(table), "<sup>X</sup>"));
  CHECK(Has(CsvTable(table), "," + doubt + ","));
  CHECK(Occurrences(MarkdownTable(table), "(X)") == 1);
}

TEST_CASE("table text: what is in doubt is no best, and the others are compared without it") {
  TableLab lab;
  Json doubtful = TableSample("file", 0.01, 0.005);
  doubtful["candidate"] = {{"name", "file"},
                           {"notes", {{{"what", "MISREAD"}, {"count", 1}, {"doubtful", true}}}}};
  lab.Add(doubtful);
  lab.Add(TableSample("rtn", 0.06, 0.004));
  const std::string alone = MarkdownTable(lab.Make(kSpec));
  INFO(alone);
  CHECK(Occurrences(alone, "| **") == 0);
  CHECK(Has(alone, "Where numbers are in doubt, no best is marked."));
  lab.Add(TableSample("gptq", 0.02, 0.005));
  const std::string text = MarkdownTable(lab.Make(kSpec));
  INFO(text);
  CHECK(Has(text, "| gptq | **"));
  CHECK(Has(text, "(X)"));
  CHECK(Occurrences(text, "| **") == 1);
}

TEST_CASE("table text: that the best of a scheme keeps matrices and has more bits is said") {
  TableLab lab;
  lab.Add(TableSample("rtn", 0.06, 0.004));
  Json keeps = TableSample("keeps", 0.02, 0.005);
  keeps["effective_bits"] = 6.69;
  lab.Add(keeps);
  const std::string said = "keeps stores 6.69 bits a weight, rtn, with which it is compared, 4.16.";
  const auto text = [&](const std::string& within) {
    return HtmlTable(
        lab.Make("rows: [method]\ncells: [kl_mean]\ncompare: {within: [" + within + "]}\n"));
  };
  CHECK(Has(text("bits"), said));
  CHECK(Has(text("weights"), said));
  CHECK_FALSE(Has(text("model"), said));  // whatever their schemes
  lab.Add(TableSample("gptq", 0.01, 0.003));
  CHECK_FALSE(Has(text("bits"), "keeps stores"));  // it is not the best
}

TEST_CASE("table text: synthetic weights have speeds alone, and say so") {
  TableLab lab;
  Json record = TableSample("rtn");
  AddSpeed(record, 100);
  record["model"] = {{"name", "llama-2-7b"}, {"synthetic", true}, {"seed", 0}};
  for (const char* part : {"accuracy", "protocol", "dataset", "calibration", "hashes"})
    record.erase(part);
  lab.Add(record);
  const std::string text = MarkdownTable(lab.Make("rows: [model]\ncells: [ppl, prefill]\n"));
  CHECK(Has(text, "| llama-2-7b | - | 1002 ± 1 (R) |"));
  CHECK(Has(text, "R: SYNTHETIC WEIGHTS, random: speed only."));
  CHECK(Has(text, "llama-2-7b (random weights)"));
}

TEST_CASE("table text: the caption has protocol, text, calibration, model and machine") {
  TableLab lab;
  Json record = TableSample("rtn", 0.02, 0.005);
  AddSpeed(record, 100);
  lab.Add(record);
  const std::string text = MarkdownTable(lab.Make("rows: [method]\ncells: [ppl, prefill]\n"));
  for (const char* part :
       {"**A table.**",
        "Protocol: gptq-2048 on wikitext-2 test (text 444444444444, tokens 888888888888), 16 "
        "windows, 1,600 scored tokens.",
        "Model: wikilm (weights 222222222222).",
        "Calibration: wikitext-2 validation, 128 × 2048 tokens, seed 0.",
        "Speeds: medians of prefill of 64 tokens on 2 threads; avx2 on a CPU, commit aaaaaaaaaaaa.",
        "the 95 % interval over windows", "± is half the interquartile range"})
    CHECK(Has(text, part));
}

TEST_CASE("table text: LaTeX as a float of one or two columns, or the tabular alone") {
  TableLab lab;
  Json record = Plain("rtn", 0.1);
  record["calibration"]["contaminated"] = true;
  lab.Add(record);
  const auto latex = [&](const std::string& style) { return LatexTable(lab.Make(kSpec + style)); };
  const std::string plain = latex(""), comment = latex("latex: {float: table*, note: comment}\n"),
                    alone = latex("latex: {float: none}\n");
  const std::string caption = "\\caption{A table.\n  C: CONTAMINATED calibration.}\n";
  CHECK(Has(plain, "\\begin{table}\n\\centering\n" + caption));
  CHECK(Has(plain, "\\footnotesize\nProtocol: gptq-2048 on"));
  CHECK(Has(comment, "\\begin{table*}\n\\centering\n" + caption));
  CHECK(Has(comment, "\n% Protocol: gptq-2048 on"));
  CHECK_FALSE(Has(comment, "\\footnotesize"));
  CHECK(Has(alone, "\n% C: CONTAMINATED calibration.\n% Protocol: gptq-2048 on"));
  CHECK(Has(alone, "\\begingroup\n\\sisetup{"));
  CHECK_FALSE(Has(alone, "{table"));
  for (const std::string& text : {plain, comment, alone}) CHECK(Has(text, "group-digits = false"));
}

TEST_CASE("table text: the reference comes first, and every column says its metric") {
  TableLab lab;
  for (const char* method : {"awq", "fp16", "rtn"}) {
    Json record = TableSample(method, 0.02, 0.005);
    if (std::string(method) != "fp16") record["scheme"]["name"] = "a scheme";
    lab.Add(record);
  }
  const Table& table = lab.Make(
      "rows: [{field: weights, order: [a scheme]}, {field: method, order: [rtn]}]\n"
      "columns: [model]\ncells: [ppl]\n");
  CHECK(table.rows[0] == std::vector<std::string>{"none", "fp16"});
  CHECK(table.rows[1] == std::vector<std::string>{"a scheme", "rtn"});
  CHECK(Has(MarkdownTable(table), "| weights | method | wikilm PPL |"));
  CHECK(Has(LatexTable(table), "\\multicolumn{1}{c}{PPL}"));
}

TEST_CASE(
    "table text: what is the same in all rows of a page is said once, figures lead to records") {
  TableLab lab;
  const std::string id = lab.Add(Plain("rtn", 0.1));
  lab.Add(Plain("gptq", 0.2));
  const Table& table = lab.Make(
      "rows: [{field: model, name: Model}, method]\ncolumns: [protocol]\n"
      "cells: [kl_mean]\n");
  const std::string html = HtmlTable(table, true);
  CHECK(Has(html, "Of all figures: Model wikilm, gptq-2048."));
  CHECK_FALSE(Has(html, "<th scope=\"row\">wikilm</th>"));
  CHECK_FALSE(Has(html, ">gptq-2048</th>"));
  CHECK(Has(html, "<a href=\"#record-" + id + "\">"));
  CHECK_FALSE(Has(HtmlTable(table), "<a "));
}

TEST_CASE("table text: header and row labels are written once where they repeat") {
  TableLab lab;
  for (const std::string model : {"a", "b"}) {
    for (const std::string method : {"rtn", "gptq"}) {
      for (const int bits : {3, 4}) {
        Json record = Plain(method, 0.1);
        record["config"]["name"] = model + std::to_string(bits);
        record["model"]["name"] = model;
        record["scheme"]["bits"] = bits;
        lab.Add(record);
      }
    }
  }
  const Table& table = lab.Make(
      "rows: [bits, method]\ncolumns: [model]\ncells: [kl_mean, ppl]\ncompare: {within: [bits, "
      "model]}\n");
  const std::string latex = LatexTable(table);
  CHECK(Has(latex,
            " &  & \\multicolumn{2}{c}{a} & \\multicolumn{2}{c}{b} \\\\\n"
            "\\cmidrule(lr){3-4}\\cmidrule(lr){5-6}\n"
            "bits & method & \\multicolumn{1}{c}{KL (nats)}"));
  CHECK(Occurrences(latex, "\\midrule\n") == 2);
  CHECK(Has(latex, "\n & rtn & "));
  CHECK(Has(MarkdownTable(table), "| bits | method | a KL (nats) | a PPL | b KL (nats) | b PPL |"));
  CHECK(Has(HtmlTable(table), "colspan=\"2\">a</th>"));
}

}  // namespace
}  // namespace quantref
