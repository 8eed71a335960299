#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <regex>
#include <string>
#include <vector>

#include "eval/testing/process.h"
#include "eval/testing/run_eval_lab.h"
#include "eval/testing/table_lab.h"

// The program and its page, which Chromium reads too where that is installed.

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::AddSpeed;
using testing::FileText;
using testing::MissingPart;
using testing::ProcessOptions;
using testing::ProcessResult;
using testing::TableLab;
using testing::TableSample;
using testing::WriteFile;
using Json = nlohmann::json;
using Strings = std::vector<std::string>;

constexpr const char* kReportSpec =
    "title: Four bits & fewer\nnote: A <note>.\nrecords: [records]\ntables: [table.yaml]\n"
    "baseline: baseline.json\noutput: report.html\n";
constexpr const char* kSvg =
    "<?xml version=\"1.0\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" id=\"a\"/>\n";

ProcessResult MakeReport(const TableLab& lab, Strings arguments, ProcessOptions options = {}) {
  arguments.insert(arguments.begin(), testing::Program("make_report"));
  options.folder = lab.path();
  return testing::RunProcess(arguments, options);
}

size_t Occurrences(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

// Four methods of which one has speeds, an older run of one, a baseline, a table and plots.
void FillReport(const TableLab& lab, TableLab& records) {
  records.Add(TableSample("rtn", 0.07, 0.004));  // passed over
  for (const auto& [method, nats] : {std::pair{"rtn", 0.06}, {"gptq", 0.02}, {"awq", 0.1}}) {
    Json record = TableSample(method, nats, nats / 10);
    if (std::string(method) == "gptq") AddSpeed(record, 900);
    if (std::string(method) == "awq") AddSpeed(record, 12000);
    record["calibration"]["contaminated"] = std::string(method) == "awq";
    records.Add(record);
  }
  records.Add(TableSample("fp16"));
  Json worse = TableSample("gptq", 0.01, 0.001);
  worse["hashes"]["packed_weights"] = std::string(64, 'e');
  WriteFile(lab / "baseline.json", Json::array({worse}).dump());
  lab.Spec(
      "title: A table\nrecords: [elsewhere]\nrows: [config, method]\n"
      "cells: [ppl, {metric: decode, uncertainty: none}]\n");
  WriteFile(lab / "plots/ppl_by-bits.svg", kSvg);
  WriteFile(lab / "plots/kl.svg", kSvg);
  WriteFile(lab / "plots/notes.txt", "no plot");
  WriteFile(lab / "report.yaml", kReportSpec);
}

std::string Page(const TableLab& lab, const Strings& arguments = {}) {
  Strings all = {"report.yaml"};
  all.insert(all.end(), arguments.begin(), arguments.end());
  const ProcessResult made = MakeReport(lab, all);
  INFO(made.err);
  REQUIRE(made.exit_code == 0);
  CHECK(made.out == "report.html\n");
  return FileText(lab / "report.html");
}

TEST_CASE("make_report: what the page says") {
  TableLab lab;
  FillReport(lab, lab);
  const std::string page = Page(lab, {"--plots", "plots"});
  CHECK(MissingPart(page, {"<title>Four bits &amp; fewer</title>", "A &lt;note&gt;.",
                           // The summary, warnings first.
                           "<b>5 records</b> of 4 cells (1 older run passed over), made "
                           "2026-01-31T12:00:00Z to 2026-01-31T12:00:04Z.",
                           "<li><b>C: CONTAMINATED calibration</b>, 1 of 5 records</li>",
                           "<dd>tiny</dd>", "rtn <span class=\"count\">× 2</span>",
                           "gptq-2048 on wikitext-2 test (text 444444444444, tokens 888888888888)",
                           // Tables and plots.
                           "<div id=\"table-1\">", "<b>A table.</b>",
                           "<img alt=\"ppl by bits\" src=\"data:image/svg+xml;base64,PD94bWwg",
                           // The comparison.
                           "accuracy: 1 of 4 cells judged: 1 worse, 3 new",
                           "<td class=\"verdict-worse text\">worse</td>",
                           "packed weights: hashes.packed_weights", "baseline.json: 1 record",
                           // Every record, the older run too, with all its values.
                           "<a href=\"#record-00000000feed0000\">", "<td class=\"text\">older</td>",
                           "<dt>config.sha256</dt><dd>11111111",
                           "<dt>accuracy.window_nll</dt>"
                           "<dd>(a list of 16)</dd>",
                           "&quot;group&quot;: 16", "model hash 222222222222; "}) == "");
  CHECK(Occurrences(page, "<tr class=\"fold\"") == 5);
  CHECK(Occurrences(page, "<img ") == 2);
  CHECK(page.find("notes") == std::string::npos);
}

TEST_CASE("make_report: the summary begins with what failed and what was found") {
  TableLab lab;
  FillReport(lab, lab);
  WriteFile(lab / "plots/kl.svg",
            "<svg xmlns=\"http://www.w3.org/2000/svg\"><title>KL &amp; more</title></svg>");
  const std::string page = Page(lab, {"--plots", "plots"});
  const size_t failed = page.find("<ul class=\"failures\">\n<li><b>against the baseline</b>"),
               found = page.find("<ul class=\"findings\">"),
               warned = page.find("<ul class=\"warnings\">"),
               records = page.find("<b>5 records</b>");
  CHECK(failed < found);
  CHECK(found < warned);
  CHECK(warned < records);
  CHECK(std::regex_search(
      page,
      std::regex("<li><b>int4 g128 asym</b>: <a href=\"#record-[0-9a-f]+\">gptq</a> "
                 "\\+2\\.[0-9]+ % \\[[^\\]]+\\], better than <a href=\"#record-[0-9a-f]+\">rtn"
                 "</a> [^<]*, <a href=\"#record-[0-9a-f]+\">awq</a> [^<]* \\(C\\)</li>")));
  CHECK(MissingPart(page, {"<figcaption><b>KL &amp; more</b></figcaption>",
                           "<img alt=\"KL &amp; more\"", "Of all records: ", "model wikilm; "}) ==
        "");
}

TEST_CASE("make_report: nothing says where a model or a text lies") {
  TableLab lab;
  Json record = TableSample("rtn", 0.06, 0.004);
  for (const char* name :
       {"/model/name", "/dataset/name", "/calibration/dataset", "/config/resolved/model/name"})
    record[Json::json_pointer(name)] = "/home/jane/private/x";
  lab.Add(record);
  lab.Spec(
      "title: A table\nrecords: [x]\nrows: [model, model.name]\ncells: [ppl]\n"
      "outputs: {latex: t.tex, csv: t.csv, markdown: t.md}\n");
  WriteFile(lab / "report.yaml", "title: Few\nrecords: [records]\ntables: [table.yaml]\n");
  const ProcessResult made = MakeReport(lab, {"report.yaml"});
  CHECK(made.exit_code == 0);
  CHECK(made.out.find("jane") == std::string::npos);
}

TEST_CASE("make_report: what was not asked for or not measured is absent") {
  TableLab lab;
  lab.Add(TableSample("rtn", 0.06, 0.004));
  WriteFile(lab / "report.yaml", "title: Few\nrecords: [records]\n");
  const ProcessResult made = MakeReport(lab, {"report.yaml"});
  REQUIRE(made.exit_code == 0);
  CHECK(made.out.find("<!doctype html>") == 0);  // without an output it is printed
  for (const char* section : {"tables", "plots", "comparison"})
    CHECK(made.out.find("<section id=\"" + std::string(section)) == std::string::npos);
  CHECK(made.out.find("class=\"warnings\"") == std::string::npos);

  lab.Spec("title: Of others\nrecords: [x]\nwhere: {method: gptq}\nrows: [method]\ncells: [ppl]\n");
  WriteFile(lab / "report.yaml", "title: Few\nrecords: [records]\ntables: [table.yaml]\n");
  CHECK(MakeReport(lab, {"report.yaml"})
            .out.find("<b>Of others</b> None of the report's records belongs in this table.") !=
        std::string::npos);
  CHECK(MakeReport(lab, {"report.yaml", "--list-records"}).out ==
        "./records/00000000feed0000.json\n");
}

TEST_CASE("make_report: text of records and specs is text") {
  TableLab lab;
  const std::string bad = "</pre><script>alert(1)</script>\"'&<img src=x onerror=alert(2)>";
  Json record = TableSample(bad, 0.02, 0.005);
  record["config"]["name"] = bad;
  record["config"]["resolved"][bad] = bad;
  record["environment"]["cpu"] = bad;
  record["accuracy"][bad] = {{bad, 1}};
  lab.Add(record);
  record["id"] = "a\" onclick=\"b";
  record["config"]["name"] = "other";
  WriteFile(lab / "records/odd.json", record.dump());
  WriteFile(lab / "records/odd-too.json", record.dump());
  WriteFile(lab / "baseline.json", Json::array({record}).dump());
  lab.Spec("title: \"" + std::string("<script>") +
           "\"\nrecords: [x]\nrows: [config, method]\ncells: [ppl]\n");
  WriteFile(lab / "plots/\"><script>.svg", kSvg);
  WriteFile(lab / "report.yaml", kReportSpec);
  const std::string page = Page(lab, {"--plots", "plots"});
  CHECK(Occurrences(page, "<script") == 1);
  CHECK(Occurrences(page, "</script") == 1);
  CHECK(Occurrences(page, "</pre>") == 3);
  CHECK(Occurrences(page, "<img") == 1);
  CHECK(page.find("onclick=\"") == std::string::npos);
  CHECK(page.find("&lt;/pre&gt;&lt;script&gt;alert(1)&lt;/script&gt;") != std::string::npos);
  CHECK(MissingPart(page, {"id=\"record-a--onclick--b\"", "id=\"record-a--onclick--b-2\"",
                           "<img alt=\"&quot;&gt;&lt;script&gt;\""}) == "");
}

TEST_CASE("make_report: the page needs nothing else") {
  TableLab lab;
  FillReport(lab, lab);
  const std::string page = Page(lab, {"--plots", "plots"});
  for (const char* part : {"http://", "https://", "@import", "url(", "<link", "<iframe", "fetch("})
    CHECK((page.find(part) == std::string::npos ? "" : part) == std::string());
  const std::regex reference("(src|href|srcset|action)=\"([^\"]*)\"");
  for (std::sregex_iterator at(page.begin(), page.end(), reference), end; at != end; ++at) {
    const std::string target = (*at)[2].str().substr(0, 60);
    INFO(target);
    CHECK((target.starts_with("#") || target.starts_with("data:image/svg+xml;base64,")));
  }
  CHECK(page.find("content=\"default-src 'none'; base-uri 'none'; form-action 'none'; "
                  "img-src data:; style-src 'sha256-") != std::string::npos);
}

TEST_CASE("make_report: same input, same bytes, wherever it lies") {
  TableLab lab, other;
  FillReport(lab, lab);
  FillReport(other, other);
  const std::string page = Page(lab, {"--plots", "plots"});
  CHECK(Page(lab, {"--plots", "plots"}) == page);
  CHECK(Page(other, {"--plots", (other / "plots").string()}) == page);
  const fs::path spec = other / "report.yaml";
  CHECK(MakeReport(lab, {spec.string(), "--plots", "plots", "--out", "b.html"}).exit_code == 0);
  CHECK(FileText(lab / "b.html") == page);
}

TEST_CASE("make_report: wrong input is one message and leaves the old page") {
  TableLab lab;
  FillReport(lab, lab);
  WriteFile(lab / "report.html", "old");
  Strings arguments = {"report.yaml"};
  ProcessOptions options;
  std::string part;
  SECTION("no spec") {
    arguments = {"none.yaml"};
    part = "none.yaml: ";
  }
  SECTION("an unknown key") {
    WriteFile(lab / "report.yaml", "title: a\nrecord: [records]\n");
    part = "report.yaml:2: record: unknown key (did you mean 'records'?)";
  }
  SECTION("no title") {
    WriteFile(lab / "report.yaml", "records: [records]\n");
    part = "title: expected what the report is about";
  }
  SECTION("no records") {
    WriteFile(lab / "report.yaml", "title: a\nrecords: [nowhere]\n");
    part = "nowhere: expected records, found none";
  }
  SECTION("a record that is none") {
    WriteFile(lab / "records/bad.json", "{\"schema\": 1}");
    part = "records/bad.json: id: expected";
  }
  SECTION("a table's spec that is not there") {
    WriteFile(lab / "report.yaml", "title: a\nrecords: [records]\ntables: [none.yaml]\n");
    part = "none.yaml: ";
  }
  SECTION("no baseline") {
    fs::remove(lab / "baseline.json");
    part = "baseline.json: ";
  }
  SECTION("a folder without plots") {
    arguments.insert(arguments.end(), {"--plots", "records"});
    part = "records: expected plots (*.svg), found none";
  }
  SECTION("no folder of plots") {
    arguments.insert(arguments.end(), {"--plots", "nowhere"});
    part = "nowhere: cannot be read";
  }
  SECTION("a plot that is none") {
    WriteFile(lab / "plots/a.svg", "PNG");
    arguments.insert(arguments.end(), {"--plots", "plots"});
    part = "plots/a.svg: expected an SVG image";
  }
  SECTION("no folder for the page") {
    arguments.insert(arguments.end(), {"--out", "nowhere/a.html"});
    part = "nowhere: ";
  }
  SECTION("a full disk") {
    options.file_size_limit = 1000;
    part = "report.html: cannot write";
  }
  SECTION("a full device") {
    WriteFile(lab / "report.yaml", "title: a\nrecords: [records]\n");
    options.standard_output = "/dev/full";
    part = "cannot write to standard output";
  }
  const ProcessResult result = MakeReport(lab, arguments, options);
  INFO(result.err);
  CHECK(result.exit_code == 2);
  CHECK(Occurrences(result.err, "make_report: ") == 1);
  CHECK(MissingPart(result.err, {part}) == "");
  CHECK(FileText(lab / "report.html") == "old");
  for (const auto& entry : fs::directory_iterator(lab.path()))
    CHECK(entry.path().extension() != ".tmp");
}

// A page as Chromium has it once its script has run.
std::string Dom(const TableLab& lab, const std::string& file, const std::string& view = "") {
  const ProcessResult result = testing::RunProcess(
      {"/usr/bin/env", "chromium", "--headless=new", "--no-sandbox", "--disable-gpu",
       "--user-data-dir=" + (lab / "profile").string(), "--virtual-time-budget=3000", "--dump-dom",
       "file://" + (lab / file).string() + view});
  INFO(result.err);
  REQUIRE(result.exit_code == 0);
  return result.out;
}

// The methods in the rows of the first table as they are shown; hidden ones in brackets.
Strings ShownRows(const std::string& dom) {
  const size_t begin = dom.find("<tbody>", dom.find("<div id=\"table-1\">"));
  const std::string body = dom.substr(begin, dom.find("</tbody>", begin) - begin);
  const std::regex row("<tr([^>]*)><th[^>]*>([^<]*)</th>");
  Strings rows;
  for (std::sregex_iterator at(body.begin(), body.end(), row), end; at != end; ++at) {
    const bool hidden = (*at)[1].str().find("hidden") != std::string::npos;
    rows.push_back(hidden ? "(" + (*at)[2].str() + ")" : (*at)[2].str());
  }
  return rows;
}

TEST_CASE("make_report: in Chromium tables sort, filter and keep to the address") {
  if (std::system("command -v chromium > /dev/null 2>&1") != 0) {
    WARN("no chromium: not tested");
    return;
  }
  TableLab lab;
  FillReport(lab, lab);
  std::string page = Page(lab, {"--plots", "plots"});
  CHECK(ShownRows(page) == Strings{"fp16", "awq", "gptq", "rtn"});

  // A link to a view: by numbers, what was not measured last.
  std::string dom = Dom(lab, "report.html", "#sort=table-1:3:asc&filter-records=awq");
  CHECK(ShownRows(dom) == Strings{"gptq", "awq", "fp16", "rtn"});
  CHECK(Occurrences(dom, "aria-sort=\"ascending\"") == 1);
  CHECK(Occurrences(dom, "<output>1 of 5</output>") == 1);
  CHECK(Occurrences(dom, " class=\"rearranged\">") == 2);

  // The page's policy lets no script in but its own.
  std::string other = page;
  other.insert(other.find("</body>"), "<script>document.title = 'an intruder';</script>");
  WriteFile(lab / "intruder.html", other);
  dom = Dom(lab, "intruder.html", "#sort=table-1:3:desc&filter=tiny+Q");
  CHECK(dom.find("<title>Four bits &amp; fewer</title>") != std::string::npos);
  CHECK(ShownRows(dom) == Strings{"awq", "gptq", "(fp16)", "(rtn)"});

  // Clicks and typing, by a script that needs a page without the policy.
  const size_t policy = page.find("<meta http-equiv");
  page.erase(policy, page.find('\n', policy) - policy);
  page.insert(page.find("</body>"), R"(<script>
    const click = (n) => document.querySelectorAll('#table-1 thead button')[n].click();
    for (const n of [1, 2, 0, 0]) click(n);
    const input = document.querySelector('#table-1 input');
    input.value = 'P';
    input.dispatchEvent(new Event('input'));
    document.title = location.hash;
    </script>)");
  WriteFile(lab / "clicks.html", page);
  dom = Dom(lab, "clicks.html");
  CHECK(dom.find("<title>#sort=table-1:1:desc&amp;filter-table-1=P</title>") != std::string::npos);
  CHECK(ShownRows(dom) == Strings{"(rtn)", "gptq", "fp16", "(awq)"});
}

}  // namespace
}  // namespace quantref
