#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "eval/compare_report.h"
#include "eval/text_table.h"

// The formats of a comparison that other programs read.

namespace quantref {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kComparisonSchema = 1;

Json SetJson(const RecordSet& set) {
  return {{"path", set.path.string()},
          {"records", set.records.size()},
          {"older_passed_over", set.passed_over}};
}

Json GateJson(const RecordComparison& comparison, const Gate& gate, bool gated) {
  Json fail_on = Json::array();
  for (const Verdict verdict : gate.accuracy.fail_on) fail_on.push_back(VerdictName(verdict));
  return {{"applied", gated},
          {"failures", GateFailures(gate, comparison)},
          {"accuracy",
           {{"worse_nll", gate.accuracy.worse_nll},
            {"resolution_nll", gate.accuracy.resolution_nll},
            {"fail_on", fail_on}}}};
}

Json RecordJson(const StoredRecord& record) {
  Json json = {{"id", record.id},
               {"created", record.created},
               {"file", record.file.string()},
               {"mean_nll", record.MeanNll()},
               {"ppl", std::exp(record.MeanNll())}};
  if (!record.stamps.empty()) json["stamps"] = record.stamps;
  return json;
}

Json ChangeJson(const Change& change) {
  return {{"what", change.what}, {"baseline", change.baseline}, {"candidate", change.candidate}};
}

Json AccuracyJson(const AccuracyFinding& finding) {
  Json json = {{"verdict", VerdictName(finding.verdict)}};
  if (!finding.why.empty()) json["why"] = finding.why;
  if (!finding.delta) return json;
  json["identical"] = finding.identical;
  json["delta_nll"] = *finding.delta;
  if (finding.interval)
    json["delta_nll_ci95"] = Json::array({finding.interval->low, finding.interval->high});
  return json;
}

Json CellJson(const ComparedCell& cell, const Gate& gate) {
  const CellName& name = cell.cell();
  Json json = {{"config", name.config},
               {"method", name.method},
               {"model", name.model},
               {"protocol", name.protocol}};
  if (name.seed) json["seed"] = *name.seed;
  json["accuracy"] = AccuracyJson(cell.accuracy);
  const std::string failure = GateFailure(gate, cell);
  if (!failure.empty()) json["gate_failure"] = failure;
  if (cell.baseline != nullptr) json["baseline"] = RecordJson(*cell.baseline);
  if (cell.candidate != nullptr) json["candidate"] = RecordJson(*cell.candidate);
  if (cell.cause) {
    json["cause"] = {{"stage", cell.cause->stage}};
    json["cause"].update(ChangeJson(cell.cause->change));
  }
  for (const Change& change : cell.changes) json["changes"].push_back(ChangeJson(change));
  return json;
}

std::string XmlText(const std::string& text) {
  std::string escaped;
  for (const char c : Printable(text)) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

std::string Details(const ComparedCell& cell) {
  std::string text;
  if (cell.cause)
    text += fmt::format("first change: {}: {}\n", cell.cause->stage, cell.cause->change.what);
  for (const Change& change : cell.changes)
    text += fmt::format("{}: {} -> {}\n", change.what, change.baseline, change.candidate);
  return text;
}

bool NothingToTest(Verdict verdict) {
  return verdict == Verdict::kNotComparable || verdict == Verdict::kNew ||
         verdict == Verdict::kGone;
}

}  // namespace

std::string ComparisonJson(const RecordComparison& comparison, const Gate& gate, bool gated) {
  Json json = {{"comparison_schema", kComparisonSchema},
               {"baseline", SetJson(*comparison.baseline)},
               {"candidate", SetJson(*comparison.candidate)},
               {"gate", GateJson(comparison, gate, gated)}};
  for (const Verdict verdict : kVerdicts) json["verdicts"][VerdictName(verdict)] = 0;
  json["cells"] = Json::array();
  for (const ComparedCell& cell : comparison.cells) {
    Json& count = json["verdicts"][VerdictName(cell.accuracy.verdict)];
    count = count.get<size_t>() + 1;
    json["cells"].push_back(CellJson(cell, gate));
  }
  // Paths may hold any byte.
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string ComparisonJUnit(const RecordComparison& comparison, const Gate& gate) {
  size_t skipped = 0;
  std::string cases;
  for (const ComparedCell& cell : comparison.cells) {
    const CellName& name = cell.cell();
    cases += fmt::format("  <testcase classname=\"{}\" name=\"{}\">",
                         XmlText(name.model + "." + name.protocol), XmlText(name.Text()));
    const std::string failure = GateFailure(gate, cell);
    const std::string verdict = VerdictName(cell.accuracy.verdict);
    if (!failure.empty()) {
      cases += fmt::format("<failure type=\"{}\" message=\"{}\">{}</failure>", verdict,
                           XmlText(failure), XmlText(Details(cell)));
    } else if (NothingToTest(cell.accuracy.verdict)) {
      ++skipped;
      const std::string& why = cell.accuracy.why;
      cases += fmt::format("<skipped message=\"{}\"/>",
                           XmlText(why.empty() ? verdict : fmt::format("{}: {}", verdict, why)));
    }
    cases += "</testcase>\n";
  }
  return fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      "<testsuite name=\"compare_results\" tests=\"{}\" failures=\"{}\" errors=\"0\" "
      "skipped=\"{}\">\n{}</testsuite>\n",
      comparison.cells.size(), GateFailures(gate, comparison), skipped, cases);
}

}  // namespace quantref
