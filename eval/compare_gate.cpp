#include "eval/compare_gate.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "eval/nearest.h"
#include "eval/yaml_reader.h"
#include "harness/base/error.h"

namespace quantref {
namespace {

constexpr Verdict kAlarming[] = {Verdict::kWorse, Verdict::kNotComparable, Verdict::kGone,
                                 Verdict::kCannotTell, Verdict::kNew};

void SetNats(YamlReader& map, const std::string& key, double& value) {
  map.Set(key, value);
  if (value < 0) map.Fail(key, "nats, 0 or more");
}

void SetShare(YamlReader& map, const std::string& key, double& value) {
  map.Set(key, value);
  if (!(value > 0 && value < 1)) map.Fail(key, "a share above 0 and below 1");
}

void SetVerdicts(YamlReader& map, const std::string& key, std::set<Verdict>& verdicts) {
  if (!map.Has(key)) return;
  std::vector<std::string> valid, names;
  for (const Verdict verdict : kAlarming) valid.emplace_back(VerdictName(verdict));
  map.Set(key, names);
  verdicts.clear();
  for (const std::string& name : names) {
    const auto at = std::find(valid.begin(), valid.end(), name);
    if (at == valid.end())
      throw Error(fmt::format("unknown verdict '{}'{}", name, DidYouMean(name, valid)),
                  map.Where(key));
    verdicts.insert(kAlarming[at - valid.begin()]);
  }
}

std::string NameAndReason(Verdict verdict, const std::string& why) {
  return why.empty() ? VerdictName(verdict) : fmt::format("{}: {}", VerdictName(verdict), why);
}

}  // namespace

Gate ReadGate(const std::string& file) {
  Gate gate;
  YamlReader root(ReadYaml(file), file);
  YamlReader accuracy = root.Map("accuracy");
  SetNats(accuracy, "worse_nll", gate.accuracy.worse_nll);
  SetNats(accuracy, "resolution_nll", gate.accuracy.resolution_nll);
  SetVerdicts(accuracy, "fail_on", gate.accuracy.fail_on);
  accuracy.RefuseUnknownKeys();
  YamlReader speed = root.Map("speed");
  SetShare(speed, "tolerance", gate.speed.limits.tolerance);
  SetShare(speed, "machine", gate.speed.limits.machine);
  SetVerdicts(speed, "fail_on", gate.speed.fail_on);
  speed.RefuseUnknownKeys();
  root.RefuseUnknownKeys();
  return gate;
}

std::string GateFailure(const Gate& gate, const ComparedCell& cell) {
  if (!cell.accuracy) return "";
  const AccuracyFinding& finding = *cell.accuracy;
  if (!gate.accuracy.fail_on.contains(finding.verdict)) return "";
  if (finding.verdict != Verdict::kWorse) return NameAndReason(finding.verdict, finding.why);
  if (finding.interval->low <= gate.accuracy.worse_nll) return "";
  return fmt::format("worse by {:.5f} to {:.5f} nats a token, the gate allows {:g}",
                     finding.interval->low, finding.interval->high, gate.accuracy.worse_nll);
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

}  // namespace quantref
