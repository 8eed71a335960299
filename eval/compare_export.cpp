#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "eval/compare_report.h"
#include "eval/markup.h"

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

Json Names(const std::set<Verdict>& verdicts) {
  Json names = Json::array();
  for (const Verdict verdict : verdicts) names.push_back(VerdictName(verdict));
  return names;
}

Json GateJson(const RecordComparison& comparison, const Gate& gate, bool gated) {
  const GateFailureCounts failures = GateFailures(gate, comparison);
  return {{"applied", gated},
          {"failures", failures.cells},
          {"accuracy_failures", failures.accuracy},
          {"speed_failures", failures.speed},
          {"accuracy",
           {{"worse_nll", gate.accuracy.worse_nll},
            {"resolution_nll", gate.accuracy.resolution_nll},
            {"fail_on", Names(gate.accuracy.fail_on)}}},
          {"speed",
           {{"tolerance", gate.speed.limits.tolerance},
            {"machine", gate.speed.limits.machine},
            {"fail_on", Names(gate.speed.fail_on)}}}};
}

Json RecordJson(const StoredRecord& record) {
  Json json = {{"id", record.id}, {"created", record.created}, {"file", record.file.string()}};
  if (record.HasAccuracy()) {
    json["mean_nll"] = record.MeanNll();
    json["ppl"] = std::exp(record.MeanNll());
  }
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

Json RateJson(const RateFinding& rate) {
  Json json = {{"kind", rate.name.decode ? "decode" : "prefill"},
               {"tokens", rate.name.tokens},
               {"threads", rate.name.threads},
               {"verdict", VerdictName(rate.verdict)}};
  if (!rate.why.empty()) json["why"] = rate.why;
  if (rate.before) json["baseline_tokens_s"] = *rate.before;
  if (rate.now) json["candidate_tokens_s"] = *rate.now;
  if (rate.ratio) {
    json["ratio"] = rate.ratio->ratio;
    if (const auto& interval = rate.ratio->interval)
      json["ratio_ci95"] = Json::array({interval->low, interval->high});
    json["p"] = rate.ratio->p;
  }
  if (rate.kernel) {
    const KernelName& name = rate.kernel->name;
    json["kernel"] = {{"op", name.op},
                      {"rows", name.rows},
                      {"cols", name.cols},
                      {"tokens", name.tokens},
                      {"threads", name.threads},
                      {"streamed", name.streamed},
                      {"time_ratio", rate.kernel->ratio}};
  }
  return json;
}

Json SpeedJson(const SpeedFinding& speed, const std::string& failure) {
  Json json = {{"verdict", VerdictName(speed.verdict)}};
  for (const RateFinding& rate : speed.rates) json["rates"].push_back(RateJson(rate));
  if (!failure.empty()) json["gate_failure"] = failure;
  return json;
}

Json CellJson(const ComparedCell& cell, const Gate& gate) {
  const CellName& name = cell.cell();
  Json json = {{"config", name.config}, {"method", name.method}, {"model", name.model}};
  if (!name.protocol.empty()) json["protocol"] = name.protocol;
  if (name.seed) json["seed"] = *name.seed;
  if (cell.accuracy) json["accuracy"] = AccuracyJson(*cell.accuracy);
  const std::string failure = GateFailure(gate, cell);
  if (!failure.empty()) json["gate_failure"] = failure;
  if (cell.speed) json["speed"] = SpeedJson(*cell.speed, SpeedGateFailure(gate, cell));
  if (cell.baseline != nullptr) json["baseline"] = RecordJson(*cell.baseline);
  if (cell.candidate != nullptr) json["candidate"] = RecordJson(*cell.candidate);
  if (cell.cause) {
    json["cause"] = {{"stage", cell.cause->stage}};
    json["cause"].update(ChangeJson(cell.cause->change));
  }
  for (const Change& change : cell.changes) json["changes"].push_back(ChangeJson(change));
  return json;
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

const RateFinding& MostAlarming(const SpeedFinding& speed) {
  return *std::min_element(
      speed.rates.begin(), speed.rates.end(),
      [](const RateFinding& a, const RateFinding& b) { return a.verdict < b.verdict; });
}

std::string SpeedDetails(const SpeedFinding& speed) {
  std::string text;
  for (const RateFinding& rate : speed.rates) {
    text += fmt::format("{}: {}", rate.name.Text(), VerdictName(rate.verdict));
    if (rate.ratio) text += fmt::format(", {:.3f} times as fast", rate.ratio->ratio);
    if (rate.kernel) {
      text += fmt::format(", {} takes {:.2f} times as long", rate.kernel->name.Text(),
                          rate.kernel->ratio);
    }
    text += (rate.why.empty() ? "" : ": " + rate.why) + "\n";
  }
  return text;
}

struct JUnitCases {
  std::string text;
  size_t tests = 0, failures = 0, skipped = 0;

  void Add(const ComparedCell& cell, const std::string& name, const std::string& failure,
           const std::string& details, Verdict verdict, const std::string& why) {
    const CellName& names = cell.cell();
    const std::string group =
        names.protocol.empty() ? names.model : names.model + "." + names.protocol;
    ++tests;
    text += fmt::format("  <testcase classname=\"{}\" name=\"{}\">", MarkupText(group),
                        MarkupText(name));
    if (!failure.empty()) {
      ++failures;
      text += fmt::format("<failure type=\"{}\" message=\"{}\">{}</failure>", VerdictName(verdict),
                          MarkupText(failure), MarkupText(details));
    } else if (NothingToTest(verdict)) {
      ++skipped;
      const std::string reason = why.empty() ? "" : ": " + why;
      text += fmt::format("<skipped message=\"{}\"/>", MarkupText(VerdictName(verdict) + reason));
    }
    text += "</testcase>\n";
  }
};

}  // namespace

std::string ComparisonJson(const RecordComparison& comparison, const Gate& gate, bool gated) {
  Json json = {{"comparison_schema", kComparisonSchema},
               {"baseline", SetJson(*comparison.baseline)},
               {"candidate", SetJson(*comparison.candidate)},
               {"gate", GateJson(comparison, gate, gated)}};
  std::map<Verdict, size_t> accuracy, speed;
  Json cells = Json::array();
  for (const ComparedCell& cell : comparison.cells) {
    if (cell.accuracy) ++accuracy[cell.accuracy->verdict];
    if (cell.speed) {
      for (const RateFinding& rate : cell.speed->rates) ++speed[rate.verdict];
    }
    cells.push_back(CellJson(cell, gate));
  }
  for (const Verdict verdict : kVerdicts)
    json["verdicts"][VerdictName(verdict)] = accuracy[verdict];
  for (const Verdict verdict : kVerdicts) {
    if (!speed.empty()) json["speed_verdicts"][VerdictName(verdict)] = speed[verdict];
  }
  json["cells"] = std::move(cells);
  // Paths may hold any byte.
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string ComparisonJUnit(const RecordComparison& comparison, const Gate& gate) {
  JUnitCases cases;
  for (const ComparedCell& cell : comparison.cells) {
    const std::string name = cell.cell().Text();
    if (cell.accuracy) {
      cases.Add(cell, name, GateFailure(gate, cell), Details(cell), cell.accuracy->verdict,
                cell.accuracy->why);
    }
    if (cell.speed) {
      cases.Add(cell, name + " speed", SpeedGateFailure(gate, cell), SpeedDetails(*cell.speed),
                cell.speed->verdict, MostAlarming(*cell.speed).why);
    }
  }
  return fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      "<testsuite name=\"compare_results\" tests=\"{}\" failures=\"{}\" errors=\"0\" "
      "skipped=\"{}\">\n{}</testsuite>\n",
      cases.tests, cases.failures, cases.skipped, cases.text);
}

}  // namespace quantref
