#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "eval/compare/report.h"
#include "eval/support/figure_text.h"
#include "eval/support/markup.h"

// The formats of a comparison that other programs read.

namespace quantref {
namespace {

using OrderedJson = nlohmann::ordered_json;

constexpr int kComparisonSchema = 1;

OrderedJson SetJson(const RecordSet& set) {
  return {{"path", set.path.string()},
          {"records", set.records.size()},
          {"older_passed_over", set.passed_over}};
}

OrderedJson JudgedJson(const JudgedCounts& counts) {
  return {{"judged", counts.judged}, {"of", counts.all}};
}

OrderedJson GateJson(const RecordComparison& comparison, const Gate& gate, bool gated) {
  const GateFailureCounts failures = GateFailures(gate, comparison);
  return {{"applied", gated},
          {"failures", failures.cells},
          {"accuracy_failures", failures.accuracy},
          {"speed_failures", failures.speed},
          {"judged", JudgedJson(JudgedAccuracies(comparison))},
          {"speed_judged", JudgedJson(JudgedRates(comparison))},
          {"accuracy",
           {{"worse_nll", gate.accuracy.worse_nll},
            {"resolution_nll", gate.accuracy.resolution_nll},
            {"fail_on", FailOnNames(gate.accuracy)}}},
          {"speed",
           {{"tolerance", gate.speed.limits.tolerance},
            {"machine", gate.speed.limits.machine},
            {"fail_on", FailOnNames(gate.speed)}}}};
}

OrderedJson RecordJson(const StoredRecord& record) {
  OrderedJson json = {
      {"id", record.id}, {"created", record.created}, {"file", record.file.string()}};
  if (record.HasAccuracy()) {
    json["mean_nll"] = record.MeanNll();
    const double ppl = std::exp(record.MeanNll());
    if (std::isfinite(ppl)) json["ppl"] = ppl;
  }
  for (const Stamp& stamp : record.stamps) json["stamps"].push_back(stamp.text);
  return json;
}

OrderedJson ChangeJson(const Change& change) {
  return {{"what", change.what}, {"baseline", change.baseline}, {"candidate", change.candidate}};
}

OrderedJson AccuracyJson(const AccuracyFinding& finding) {
  OrderedJson json = {{"verdict", VerdictName(finding.verdict)}};
  if (!finding.why.empty()) json["why"] = finding.why;
  if (!finding.delta) return json;
  json["identical"] = finding.identical;
  json["delta_nll"] = *finding.delta;
  if (finding.interval)
    json["delta_nll_ci95"] = OrderedJson::array({finding.interval->low, finding.interval->high});
  return json;
}

OrderedJson RateJson(const RateFinding& rate) {
  OrderedJson json = {{"kind", rate.name.decode ? "decode" : "prefill"},
                      {"tokens", rate.name.tokens},
                      {"threads", rate.name.threads},
                      {"verdict", VerdictName(rate.verdict)}};
  if (!rate.why.empty()) json["why"] = rate.why;
  if (rate.before) json["baseline_tokens_s"] = *rate.before;
  if (rate.now) json["candidate_tokens_s"] = *rate.now;
  if (rate.ratio) {
    json["ratio"] = rate.ratio->ratio;
    if (const auto& interval = rate.ratio->interval)
      json["ratio_ci95"] = OrderedJson::array({interval->low, interval->high});
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

OrderedJson SpeedJson(const SpeedFinding& speed, const std::string& failure) {
  OrderedJson json = {{"verdict", VerdictName(speed.verdict)}};
  for (const RateFinding& rate : speed.rates) json["rates"].push_back(RateJson(rate));
  if (!failure.empty()) json["gate_failure"] = failure;
  return json;
}

OrderedJson CellJson(const ComparedCell& cell, const Gate& gate) {
  const CellName& name = cell.cell();
  OrderedJson json = {{"config", name.config}, {"method", name.method}, {"model", name.model}};
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
    if (!cell.cause->matrix.empty()) json["cause"]["matrix"] = cell.cause->matrix;
    json["cause"].update(ChangeJson(cell.cause->change));
  }
  if (cell.other_weights) json["other_weights"] = true;
  for (const Change& change : cell.changes) json["changes"].push_back(ChangeJson(change));
  return json;
}

std::string Changes(const ComparedCell& cell) {
  std::string text;
  if (cell.cause)
    text += fmt::format("first change: {}: {}\n", cell.cause->Text(), cell.cause->change.what);
  for (const Change& change : cell.changes)
    text += fmt::format("{}: {} -> {}\n", change.what, change.baseline, change.candidate);
  return text;
}

// One of JUnit's test cases, before it is XML.
struct JUnitCase {
  std::string name;
  Verdict verdict = Verdict::kSame;
  std::string why{}, failure{};
  std::vector<std::pair<std::string, std::string>> figures{};
  std::string details{};
  double seconds = 0;
};

std::string Full(double value) { return fmt::format("{}", value); }

JUnitCase AccuracyCase(const ComparedCell& cell, const Gate& gate) {
  const AccuracyFinding& finding = *cell.accuracy;
  JUnitCase test{cell.cell().Text(), finding.verdict, finding.why, GateFailure(gate, cell)};
  const auto add_record = [&](const char* side, const StoredRecord* record) {
    if (record == nullptr || !record->HasAccuracy()) return;
    test.figures.emplace_back(fmt::format("{}_mean_nll", side), Full(record->MeanNll()));
    test.figures.emplace_back(fmt::format("{}_ppl", side),
                              FigureText(std::exp(record->MeanNll()), 4));
    for (const Stamp& stamp : record->stamps) {
      if (!stamp.speed)
        test.figures.emplace_back(fmt::format("{}_stamp_{}", side, stamp.letter), stamp.text);
    }
  };
  add_record("baseline", cell.baseline);
  add_record("candidate", cell.candidate);
  if (finding.delta) test.figures.emplace_back("delta_nll", Full(*finding.delta));
  if (finding.interval) {
    test.figures.emplace_back("delta_nll_low", Full(finding.interval->low));
    test.figures.emplace_back("delta_nll_high", Full(finding.interval->high));
  }
  test.details = Changes(cell);
  if (cell.candidate != nullptr) test.seconds = cell.candidate->accuracy_seconds;
  return test;
}

const RateFinding& MostAlarming(const SpeedFinding& speed) {
  return *std::min_element(
      speed.rates.begin(), speed.rates.end(),
      [](const RateFinding& a, const RateFinding& b) { return a.verdict < b.verdict; });
}

std::string RateDetails(const RateFinding& rate) {
  std::string text = fmt::format("{}: {}", rate.name.Text(), VerdictName(rate.verdict));
  if (rate.ratio) text += fmt::format(", {:.3f} times as fast", rate.ratio->ratio);
  if (rate.kernel) {
    text += fmt::format(", {} takes {:.2f} times as long", rate.kernel->name.Text(),
                        rate.kernel->ratio);
  }
  return text + (rate.why.empty() ? "" : ": " + rate.why) + "\n";
}

JUnitCase SpeedCase(const ComparedCell& cell, const Gate& gate) {
  const SpeedFinding& speed = *cell.speed;
  JUnitCase test{cell.cell().Text() + " speed", speed.verdict, MostAlarming(speed).why,
                 SpeedGateFailure(gate, cell)};
  for (const RateFinding& rate : speed.rates) {
    const std::string name =
        fmt::format("{}_{}_threads_{}", rate.name.decode ? "decode" : "prefill", rate.name.tokens,
                    rate.name.threads);
    if (rate.before) test.figures.emplace_back(name + "_baseline_tokens_s", Full(*rate.before));
    if (rate.now) test.figures.emplace_back(name + "_candidate_tokens_s", Full(*rate.now));
    if (rate.ratio) test.figures.emplace_back(name + "_ratio", Full(rate.ratio->ratio));
    test.details += RateDetails(rate);
  }
  if (cell.candidate != nullptr) test.seconds = cell.candidate->speed_seconds;
  return test;
}

bool IsJudged(Verdict verdict) {
  return verdict == Verdict::kWorse || verdict == Verdict::kBetter || verdict == Verdict::kSame;
}

// JUnit's elements of a case, in the order that its schema has them.
std::string CaseXml(const JUnitCase& test, const CellName& cell) {
  const std::string group = cell.protocol.empty() ? cell.model : cell.model + "." + cell.protocol;
  std::string text = fmt::format("  <testcase classname=\"{}\" name=\"{}\" time=\"{:.3f}\">\n",
                                 MarkupText(group), MarkupText(test.name), test.seconds);
  text += fmt::format("<properties>\n<property name=\"verdict\" value=\"{}\"/>\n",
                      VerdictName(test.verdict));
  for (const auto& [name, value] : test.figures) {
    text +=
        fmt::format("<property name=\"{}\" value=\"{}\"/>\n", MarkupText(name), MarkupText(value));
  }
  text += "</properties>\n";
  const std::string verdict = VerdictName(test.verdict) + (test.why.empty() ? "" : ": " + test.why);
  if (!test.failure.empty()) {
    const bool changed = test.failure.starts_with("changed");
    text += fmt::format("<failure type=\"{}\" message=\"{}\">{}</failure>\n",
                        changed ? "changed" : VerdictName(test.verdict), MarkupText(test.failure),
                        MarkupText(test.details));
  } else if (!IsJudged(test.verdict)) {
    text += fmt::format("<skipped message=\"{}\"/>\n", MarkupText(verdict));
  }
  std::string figures = verdict + "\n";
  for (const auto& [name, value] : test.figures) figures += name + ": " + value + "\n";
  return text + "<system-out>" + MarkupText(figures + test.details) +
         "</system-out>\n</testcase>\n";
}

}  // namespace

std::string ComparisonJson(const RecordComparison& comparison, const Gate& gate, bool gated) {
  OrderedJson json = {{"comparison_schema", kComparisonSchema},
                      {"baseline", SetJson(*comparison.baseline)},
                      {"candidate", SetJson(*comparison.candidate)},
                      {"gate", GateJson(comparison, gate, gated)}};
  std::map<Verdict, size_t> accuracy, speed;
  OrderedJson cells = OrderedJson::array();
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
  return json.dump(1, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
}

std::string ComparisonJUnit(const RecordComparison& comparison, const Gate& gate) {
  std::string cases;
  size_t tests = 0, failures = 0, skipped = 0;
  double seconds = 0;
  const auto add = [&](const JUnitCase& test, const CellName& cell) {
    ++tests;
    failures += !test.failure.empty();
    skipped += test.failure.empty() && !IsJudged(test.verdict);
    seconds += test.seconds;
    cases += CaseXml(test, cell);
  };
  for (const ComparedCell& cell : comparison.cells) {
    if (cell.accuracy) add(AccuracyCase(cell, gate), cell.cell());
    if (cell.speed) add(SpeedCase(cell, gate), cell.cell());
  }
  return fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      "<testsuite name=\"compare_results\" tests=\"{}\" failures=\"{}\" errors=\"0\" "
      "skipped=\"{}\" time=\"{:.3f}\">\n{}</testsuite>\n",
      tests, failures, skipped, seconds, cases);
}

}  // namespace quantref
