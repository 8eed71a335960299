#include "eval/compare/gate.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <vector>

#include "eval/support/nearest.h"
#include "eval/support/yaml_reader.h"
#include "harness/base/error.h"

namespace quantref {
namespace {

// What fail_on may name: verdicts alone, and together.
struct FailOnName {
  const char* name;
  std::set<Verdict> verdicts;
};

const std::vector<FailOnName>& FailOnTable() {
  static const std::vector<FailOnName> table = {
      {"worse", {Verdict::kWorse}},
      {"unjudged", {Verdict::kNotComparable, Verdict::kCannotTell}},
      {"not comparable", {Verdict::kNotComparable}},
      {"cannot tell", {Verdict::kCannotTell}},
      {"missing", {Verdict::kGone}},
      {"gone", {Verdict::kGone}},
      {"new", {Verdict::kNew}}};
  return table;
}
constexpr const char* kChanged = "changed";

void SetNats(YamlReader& map, const std::string& key, double& value) {
  map.Set(key, value);
  if (value < 0) map.Fail(key, "nats, 0 or more");
}

void SetShare(YamlReader& map, const std::string& key, double& value) {
  map.Set(key, value);
  if (!(value > 0 && value < 1)) map.Fail(key, "a share above 0 and below 1");
}

// `changed`: where that can be asked for too.
void SetFailOn(YamlReader& map, std::set<Verdict>& verdicts, bool* changed) {
  const std::string key = "fail_on";
  if (!map.Has(key)) return;
  std::vector<std::string> valid, names;
  for (const FailOnName& entry : FailOnTable()) valid.emplace_back(entry.name);
  if (changed != nullptr) valid.emplace_back(kChanged), *changed = false;
  map.Set(key, names);
  verdicts.clear();
  for (const std::string& name : names) {
    if (std::find(valid.begin(), valid.end(), name) == valid.end())
      throw Error(fmt::format("unknown verdict '{}'{}", name, DidYouMean(name, valid)),
                  map.Where(key), fmt::format("some of {}", fmt::join(valid, ", ")));
    if (changed != nullptr && name == kChanged) *changed = true;
    for (const FailOnName& entry : FailOnTable()) {
      if (name == entry.name) verdicts.insert(entry.verdicts.begin(), entry.verdicts.end());
    }
  }
}

// The shortest way to say it.
std::vector<std::string> NamesOf(std::set<Verdict> verdicts) {
  std::vector<std::string> names;
  for (const FailOnName& entry : FailOnTable()) {
    if (!std::includes(verdicts.begin(), verdicts.end(), entry.verdicts.begin(),
                       entry.verdicts.end()))
      continue;
    names.emplace_back(entry.name);
    for (const Verdict verdict : entry.verdicts) verdicts.erase(verdict);
  }
  return names;
}

std::string NameAndReason(Verdict verdict, const std::string& why) {
  return why.empty() ? VerdictName(verdict) : fmt::format("{}: {}", VerdictName(verdict), why);
}

std::string VerdictFailure(const Gate& gate, const AccuracyFinding& finding) {
  if (!gate.accuracy.fail_on.contains(finding.verdict)) return "";
  if (finding.verdict != Verdict::kWorse) return NameAndReason(finding.verdict, finding.why);
  if (finding.interval->low <= gate.accuracy.worse_nll) return "";
  return fmt::format("worse by {:.5f} to {:.5f} nats a token, the gate allows {:g}",
                     finding.interval->low, finding.interval->high, gate.accuracy.worse_nll);
}

void Count(Verdict verdict, JudgedCounts& counts) {
  ++counts.all;
  counts.judged +=
      verdict == Verdict::kWorse || verdict == Verdict::kBetter || verdict == Verdict::kSame;
}

}  // namespace

std::vector<std::string> FailOnNames(const Gate::Accuracy& gate) {
  std::vector<std::string> names = NamesOf(gate.fail_on);
  if (gate.fail_on_changed) names.emplace_back(kChanged);
  return names;
}

std::vector<std::string> FailOnNames(const Gate::Speed& gate) { return NamesOf(gate.fail_on); }

Gate ReadGate(const std::string& file) {
  Gate gate;
  YamlReader root(ReadYaml(file), file);
  YamlReader accuracy = root.Map("accuracy");
  SetNats(accuracy, "worse_nll", gate.accuracy.worse_nll);
  SetNats(accuracy, "resolution_nll", gate.accuracy.resolution_nll);
  SetFailOn(accuracy, gate.accuracy.fail_on, &gate.accuracy.fail_on_changed);
  accuracy.RefuseUnknownKeys();
  YamlReader speed = root.Map("speed");
  SetShare(speed, "tolerance", gate.speed.limits.tolerance);
  SetShare(speed, "machine", gate.speed.limits.machine);
  SetFailOn(speed, gate.speed.fail_on, nullptr);
  speed.RefuseUnknownKeys();
  root.RefuseUnknownKeys();
  return gate;
}

std::string GateFailure(const Gate& gate, const ComparedCell& cell) {
  if (!cell.accuracy) return "";
  const std::string verdict = VerdictFailure(gate, *cell.accuracy);
  if (!gate.accuracy.fail_on_changed || !cell.other_weights) return verdict;
  const std::string changed =
      fmt::format("changed: {} (accuracy: {})", cell.cause ? cell.cause->Text() : "packed weights",
                  VerdictName(cell.accuracy->verdict));
  return verdict.empty() ? changed : verdict + "; " + changed;
}

std::string SpeedGateFailure(const Gate& gate, const ComparedCell& cell) {
  if (!cell.speed) return "";
  std::string failures;
  for (const RateFinding& rate : cell.speed->rates) {
    if (!gate.speed.fail_on.contains(rate.verdict)) continue;
    failures += (failures.empty() ? "" : "; ") + rate.name.Text() + ": ";
    if (rate.verdict != Verdict::kWorse) {
      failures += NameAndReason(rate.verdict, rate.why);
      continue;
    }
    const Interval& interval = *rate.ratio->interval;
    failures += fmt::format("{:.3f} to {:.3f} times as fast, the gate allows {:g}", interval.low,
                            interval.high, 1 - gate.speed.limits.tolerance);
    if (rate.kernel) {
      failures += fmt::format("; {} takes {:.2f} times as long", rate.kernel->name.Text(),
                              rate.kernel->ratio);
    }
  }
  return failures;
}

GateFailureCounts GateFailures(const Gate& gate, const RecordComparison& comparison) {
  GateFailureCounts counts;
  for (const ComparedCell& cell : comparison.cells) {
    const bool accuracy = !GateFailure(gate, cell).empty();
    const bool speed = !SpeedGateFailure(gate, cell).empty();
    counts.accuracy += accuracy;
    counts.speed += speed;
    counts.cells += accuracy || speed;
  }
  return counts;
}

JudgedCounts JudgedAccuracies(const RecordComparison& comparison) {
  JudgedCounts counts;
  for (const ComparedCell& cell : comparison.cells) {
    if (cell.accuracy) Count(cell.accuracy->verdict, counts);
  }
  return counts;
}

JudgedCounts JudgedRates(const RecordComparison& comparison) {
  JudgedCounts counts;
  for (const ComparedCell& cell : comparison.cells) {
    if (!cell.speed) continue;
    for (const RateFinding& rate : cell.speed->rates) Count(rate.verdict, counts);
  }
  return counts;
}

}  // namespace quantref
