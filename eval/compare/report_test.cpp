#include "eval/compare/report.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "eval/compare/report_rows.h"
#include "eval/support/text_table.h"
#include "eval/testing/sample_record.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

using Json = nlohmann::json;
using testing::MissingPart;
using testing::SampleRecord;
using testing::ShiftNll;
using testing::Stored;
using testing::TempDir;
using testing::WriteFile;

RecordSet Set(const std::string& path, const std::vector<Json>& records) {
  RecordSet set{path, true, {}};
  for (const Json& record : records) set.records.push_back(Stored(record));
  return set;
}

// One cell of each verdict; names and paths with characters that formats must escape.
const RecordComparison& EveryVerdict() {
  static const RecordSet baseline = [] {
    RecordSet set = Set("a<&|\"b\x1b\xff", {SampleRecord("a", "same"), SampleRecord("b", "worse"),
                                            SampleRecord("c", "better"), SampleRecord("d", "gone"),
                                            SampleRecord("e", "unsure"), SampleRecord("f", "no")});
    set.passed_over = 3;
    return set;
  }();
  static const RecordSet candidate = [] {
    Json worse = SampleRecord("b", "worse"), better = SampleRecord("c", "better"),
         unsure = SampleRecord("e", "unsure"), no = SampleRecord("f", "no");
    ShiftNll(worse, 0.01, 0.001);
    ShiftNll(better, -0.01, 0.001);
    ShiftNll(unsure, 0, 0.05);
    worse["hashes"]["packed_weights"] = std::string(64, 'f');
    worse["config"]["sha256"] = "changed";
    worse["config"]["resolved"]["quantize"]["weights"]["bits"] = "<3|&";
    worse["calibration"]["contaminated"] = true;
    no["model"]["dtype"] = "fp16";
    return Set("candidate", {SampleRecord("a", "same"), worse, better, unsure, no,
                             SampleRecord("g", "new|<&>\"'")});
  }();
  static const RecordComparison comparison = CompareSets(baseline, candidate, 0.002, 1);
  return comparison;
}

TEST_CASE("comparison as text") {
  const std::string text = ComparisonText(EveryVerdict(), Gate{}, true);
  INFO(text);
  CHECK(MissingPart(text,
                    {"a<&|\"b??: 6 records, 3 older records of the same cells passed over",
                     "wikilm · gptq-2048", "packed weights: hashes.packed_weights", "666666666666",
                     "config.quantize.weights.bits", "model.dtype differs: native and fp16  (f no)",
                     "C: CONTAMINATED calibration: now  (b worse)", "gate: FAILED by 4 cells"}) ==
        "");
  CHECK(text.find("3 of 7 cells judged: 1 worse, 1 not comparable, 1 gone, 1 cannot tell, 1 new, "
                  "1 better, 1 same") != std::string::npos);
  CHECK(text.find('\x1b') == std::string::npos);
  CHECK(ComparisonText(EveryVerdict(), Gate{}, false).find("gate") == std::string::npos);
}

TEST_CASE("comparison as text: it fits the lines, and says what there was no room for") {
  const std::string text = ComparisonText(EveryVerdict(), Gate{}, true, 70);
  INFO(text);
  for (size_t at = 0, end = 0; at < text.size(); at = end + 1) {
    end = std::min(text.find('\n', at), text.size());
    CHECK(TextWidth(std::string_view(text).substr(at, end - at)) <= 70);
  }
  CHECK(MissingPart(text, {"left out, for lines of 70: PPL before", "change of NLL (nats)"}) == "");
}

TEST_CASE("comparison as text: many cells that are the same are counted") {
  std::vector<Json> records;
  for (size_t i = 0; i < 41; ++i) records.push_back(SampleRecord("c" + std::to_string(i)));
  const RecordSet set = Set("set", records);
  const std::string text = ComparisonText(CompareSets(set, set, 0.002, 1), Gate{}, true);
  CHECK(text.find("41 cells the same, bit for bit") != std::string::npos);
  CHECK(text.find("c7 rtn") == std::string::npos);
  CHECK(text.find("gate: passed") != std::string::npos);
}

TEST_CASE("comparison as Markdown") {
  const std::string text = ComparisonMarkdown(EveryVerdict(), Gate{}, true);
  INFO(text);
  CHECK(text.find("**3 of 7 cells judged: 1 worse, 1 not comparable") == 0);  // the summary first
  CHECK(MissingPart(text, {"gate: FAILED by 4 cells", "| b worse | worse | packed weights |",
                           "\nwikilm · gptq-2048\n\n", "g new\\|&lt;&amp;&gt;\"'",
                           "<details><summary>What changed</summary>", "&lt;3\\|&amp;",
                           "<details><summary>1 cell the same"}) == "");
  size_t open = 0, close = 0;
  for (size_t at = 0; (at = text.find("<details>", at)) != std::string::npos; ++at) ++open;
  for (size_t at = 0; (at = text.find("</details>", at)) != std::string::npos; ++at) ++close;
  CHECK(open == close);
}

TEST_CASE("comparison: a stamp stands beside the figure of the side that has it, and says whose") {
  const Json plain = SampleRecord("a", "file");
  Json doubtful = plain;
  doubtful["candidate"] = {{"name", "file"},
                           {"notes", {{{"what", "MISREAD"}, {"count", 1}, {"doubtful", true}}}}};
  const RecordSet clean = Set("clean", {plain}), in_doubt = Set("doubt", {doubtful});
  const auto compare = [](const RecordSet& a, const RecordSet& b) {
    return CompareSets(a, b, 0.002, 1);
  };
  constexpr char kDoubt[] = "X: file: NUMBERS IN DOUBT: MISREAD";
  const auto text = [](const RecordComparison& comparison) {
    return ComparisonText(comparison, Gate{}, true);
  };
  const auto of = [&](const char* side) {
    return std::string(kDoubt) + ": " + side + "  (a file)";
  };
  const RecordComparison now = compare(clean, in_doubt), before = compare(in_doubt, clean);
  CHECK(testing::Contains(text(now), of("now")));
  CHECK(testing::Contains(text(before), of("before")));
  CHECK(testing::Contains(text(compare(in_doubt, in_doubt)), of("before, now")));
  const std::string markdown = ComparisonMarkdown(now, Gate{}, true);
  INFO(markdown);
  const auto row = MakeCellTable({&now.cells[0]}).rows[0];
  CHECK_FALSE(row[row.size() - 3].text.ends_with(" X"));
  CHECK(row[row.size() - 2].text.ends_with(" X"));
  CHECK(testing::Contains(markdown, "| now | a file |"));
  const std::string xml = ComparisonJUnit(now, Gate{});
  CHECK(testing::Contains(xml, "<property name=\"candidate_stamp_X\" value=\"file: NUMBERS IN "));
  CHECK_FALSE(testing::Contains(xml, "baseline_stamp_X"));
}

TEST_CASE("comparison as JSON") {
  const Json json = Json::parse(ComparisonJson(EveryVerdict(), Gate{}, true));
  CHECK(json["comparison_schema"] == 1);
  CHECK(json["baseline"]["older_passed_over"] == 3);
  CHECK(json["gate"]["failures"] == 4);
  CHECK(json["gate"]["judged"] == Json{{"judged", 3}, {"of", 7}});
  CHECK(json["gate"]["accuracy"]["fail_on"] == Json{"worse", "unjudged", "missing", "changed"});
  CHECK(json["verdicts"]["cannot tell"] == 1);
  REQUIRE(json["cells"].size() == 7);
  const Json& worse = json["cells"][0];
  CHECK(worse["config"] == "b");
  CHECK(worse["accuracy"]["verdict"] == "worse");
  CHECK(worse["accuracy"]["delta_nll"].get<double>() == Approx(0.01));
  CHECK(worse["accuracy"]["delta_nll_ci95"][0].get<double>() > 0);
  CHECK(worse["cause"]["stage"] == "packed weights");
  CHECK(worse["changes"][0]["what"] == "config.quantize.weights.bits");
  CHECK(worse["candidate"]["stamps"][0] == "CONTAMINATED calibration");
  CHECK(worse["gate_failure"].get<std::string>().find("worse by 0.00") == 0);
  CHECK(json["cells"][1]["accuracy"]["why"] == "model.dtype differs: native and fp16");
  CHECK_FALSE(json["cells"][2].contains("candidate"));
  CHECK(json["cells"][6]["accuracy"]["identical"] == true);
}

// Elements are closed in order, attributes are quoted, and < and & stand only where they may. The
// names of all elements, as they open.
std::vector<std::string> XmlElements(const std::string& xml) {
  std::vector<std::string> open, all;
  const auto check_text = [](const std::string& text) {
    for (size_t at = 0; (at = text.find('&', at)) != std::string::npos; ++at) {
      const std::string entity = text.substr(at, text.find(';', at) - at);
      CHECK((entity == "&amp" || entity == "&lt" || entity == "&gt" || entity == "&quot"));
    }
  };
  for (size_t at = xml.find("?>") + 2; at < xml.size();) {
    const size_t start = std::min(xml.find('<', at), xml.size());
    check_text(xml.substr(at, start - at));
    if (start == xml.size()) break;
    size_t end = start + 1;
    for (bool quoted = false; end < xml.size() && (quoted || xml[end] != '>'); ++end) {
      if (xml[end] == '"') quoted = !quoted;
      CHECK(xml[end] != '<');
    }
    const std::string tag = xml.substr(start + 1, end - start - 1);
    check_text(tag);
    const std::string name = tag.substr(0, tag.find_first_of(" /", 1));
    if (name[0] == '/') {
      REQUIRE_FALSE(open.empty());
      CHECK(open.back() == name.substr(1));
      open.pop_back();
    } else {
      all.push_back(name);
      if (!tag.ends_with('/')) open.push_back(name);
    }
    at = end + 1;
  }
  CHECK(open.empty());
  return all;
}

TEST_CASE("comparison as JUnit XML") {
  const std::string xml = ComparisonJUnit(EveryVerdict(), Gate{});
  INFO(xml);
  const std::vector<std::string> elements = XmlElements(xml);
  CHECK(std::count(elements.begin(), elements.end(), "testcase") == 7);
  CHECK(std::count(elements.begin(), elements.end(), "failure") == 4);
  CHECK(std::count(elements.begin(), elements.end(), "skipped") == 1);
  CHECK(MissingPart(xml, {"tests=\"7\" failures=\"4\" errors=\"0\" skipped=\"1\"",
                          "name=\"g new|&lt;&amp;&gt;&quot;'\"", "&lt;3|&amp;"}) == "");
  Gate gate;
  gate.accuracy = {.fail_on = {Verdict::kCannotTell}, .fail_on_changed = false};
  CHECK(ComparisonJUnit(EveryVerdict(), gate).find("failures=\"1\" errors=\"0\" skipped=\"3\"") !=
        std::string::npos);
}

TEST_CASE("comparison as JUnit XML: figures and time") {
  Json before = SampleRecord(), now = SampleRecord();
  ShiftNll(now, 0.01, 0.001);
  now["seconds"] = {{"quantize", 1.5}, {"evaluate", 2.25}};
  const RecordSet baseline = Set("a", {before}), candidate = Set("b", {now});
  const std::string xml = ComparisonJUnit(CompareSets(baseline, candidate, 0.002, 1), Gate{});
  INFO(xml);
  XmlElements(xml);
  CHECK(MissingPart(xml, {"name=\"tiny rtn\" time=\"3.750\"", "skipped=\"0\" time=\"3.750\"",
                          "<property name=\"verdict\" value=\"worse\"/>",
                          "<property name=\"baseline_ppl\" value=\"",
                          "<property name=\"delta_nll_low\" value=\"0.00",
                          "<system-out>worse\nbaseline_mean_nll: "}) == "");
}

TEST_CASE("gate: what was not judged is said, and fails unless that was let pass") {
  Json unsure = SampleRecord();
  ShiftNll(unsure, 0, 0.05);
  const RecordSet baseline = Set("a", {SampleRecord(), SampleRecord("other")});
  const RecordSet nothing = Set("b", {unsure}), some = Set("b", {unsure, SampleRecord("other")});
  const RecordComparison none = CompareSets(baseline, nothing, 0.002, 1),
                         one = CompareSets(baseline, some, 0.002, 1);
  CHECK(GateFailures(Gate{}, one).cells == 1);
  CHECK(GateFailures(Gate{}, none).cells == 2);
  Gate lenient;
  lenient.accuracy.fail_on = {Verdict::kWorse};
  CHECK(GateLine(one, lenient) == "gate: passed, without judging 1 cell");
  CHECK(GateLine(none, lenient) == "gate: passed, but NOTHING was judged");
  CHECK(SummaryLine(none) == "0 of 2 cells judged: 1 gone, 1 cannot tell");
}

TEST_CASE("gate: other packed weights fail, whatever the accuracies say") {
  const auto matrices = [](const std::string& second) {
    return Json{{{"name", "layers.0.self_attn.q_proj"}, {"packed_sha256", std::string(64, 'a')}},
                {{"name", "layers.0.self_attn.k_proj"}, {"packed_sha256", second}}};
  };
  Json before = SampleRecord(), unsure = SampleRecord();
  before["layers"] = matrices(std::string(64, 'b'));
  unsure["layers"] = matrices(std::string(64, 'c'));
  unsure["hashes"]["packed_weights"] = std::string(64, 'f');
  ShiftNll(unsure, 0, 0.0005);
  const auto compared = [&](const Json& candidate) {
    return CompareRecords(Stored(before), Stored(candidate), 0.002);
  };
  Gate gate;
  gate.accuracy.fail_on = {Verdict::kWorse};
  const StoredRecord a = Stored(before), b = Stored(unsure);
  const ComparedCell cell = CompareRecords(a, b, 0.002);
  CHECK(cell.accuracy->verdict == Verdict::kSame);
  CHECK(GateFailure(gate, cell) ==
        "changed: packed weights: layers.0.self_attn.k_proj (accuracy: same)");
  CHECK(cell.cause->change ==
        Change{"layers[].packed_sha256", std::string(64, 'b'), std::string(64, 'c')});
  gate.accuracy.fail_on_changed = false;
  CHECK(GateFailure(gate, cell) == "");
  // Another build may round the sums over calibration inputs otherwise; of what reads none it may
  // not.
  Json elsewhere = unsure;
  elsewhere["environment"]["isa"] = "avx512";
  CHECK_FALSE(compared(elsewhere).other_weights);
  elsewhere.erase("calibration");
  CHECK(compared(elsewhere).other_weights);
  // A candidate of decoded numbers has none: its files count, and of what is packed they do not.
  Json file = before;
  file["hashes"].erase("packed_weights");
  file["candidate"] = {{"sha256", std::string(64, 'a')}, {"config_sha256", std::string(64, 'b')}};
  const auto replaced = [&](const char* hash, const Json& old) {
    Json now = old;
    now["candidate"][hash] = std::string(64, 'c');
    ShiftNll(now, 0, 0.0005);
    return CompareRecords(Stored(old), Stored(now), 0.002).other_weights;
  };
  CHECK(replaced("sha256", file));
  CHECK(replaced("config_sha256", file));
  file["hashes"]["packed_weights"] = std::string(64, 'd');
  CHECK_FALSE(replaced("sha256", file));
  // Records without hashes of matrices.
  unsure.erase("layers");
  CHECK(compared(unsure).cause->change.what == "hashes.packed_weights");
}

TEST_CASE("gate: limits") {
  const ComparedCell& worse = EveryVerdict().cells[0];
  Gate gate;
  CHECK(GateFailure(gate, worse) != "");
  CHECK(GateFailures(gate, EveryVerdict()).cells == 4);
  gate.accuracy.fail_on_changed = false;
  gate.accuracy.worse_nll = 0.009;  // the interval's lower end is above, then below
  CHECK(GateFailure(gate, worse) != "");
  gate.accuracy.worse_nll = 0.00999;
  CHECK(GateFailure(gate, worse) == "");
  gate.accuracy.fail_on = {Verdict::kNew};
  CHECK(GateFailures(gate, EveryVerdict()).cells == 1);
}

TEST_CASE("gate: the file, strictly") {
  const TempDir dir;
  const std::string file = (dir / "gate.yaml").string();
  const auto read = [&](const std::string& text) {
    WriteFile(file, text);
    return ReadGate(file);
  };
  const Gate gate = read(
      "accuracy: {worse_nll: 0.01, resolution_nll: 0.005, fail_on: [worse, cannot tell, new]}\n"
      "speed: {fail_on: [unjudged, missing]}");
  CHECK(gate.accuracy.worse_nll == 0.01);
  CHECK(gate.accuracy.resolution_nll == 0.005);
  CHECK(gate.accuracy.fail_on ==
        std::set<Verdict>{Verdict::kWorse, Verdict::kCannotTell, Verdict::kNew});
  CHECK_FALSE(gate.accuracy.fail_on_changed);
  CHECK(gate.speed.fail_on ==
        std::set<Verdict>{Verdict::kNotComparable, Verdict::kCannotTell, Verdict::kGone});
  CHECK(read("accuracy: {fail_on: [changed]}").accuracy.fail_on_changed);
  CHECK_ERROR(read("speed: {fail_on: [changed]}"), "unknown verdict 'changed'");
  CHECK_ERROR(read("accuracy: {worse_nnl: 1}"), "gate.yaml:1", "did you mean 'worse_nll'");
  CHECK_ERROR(read("acuracy: {}"), "did you mean 'accuracy'");
  CHECK_ERROR(read("accuracy: {worse_nll: -1}"), "0 or more");
  CHECK_ERROR(read("accuracy: {fail_on: [worst]}"), "unknown verdict 'worst'", "'worse'");
  CHECK_ERROR(read("accuracy: {fail_on: [better]}"), "unknown verdict 'better'");

  // The example shows the defaults.
  const Gate example = ReadGate((testing::SourceDir() / "results/gate.yaml").string());
  CHECK(example.accuracy.worse_nll == Gate{}.accuracy.worse_nll);
  CHECK(example.accuracy.resolution_nll == Gate{}.accuracy.resolution_nll);
  CHECK(example.accuracy.fail_on == Gate{}.accuracy.fail_on);
  CHECK(example.accuracy.fail_on_changed == Gate{}.accuracy.fail_on_changed);
  CHECK(example.speed.fail_on == Gate{}.speed.fail_on);
}

}  // namespace
}  // namespace quantref
