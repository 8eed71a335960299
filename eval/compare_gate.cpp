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

}  // namespace

Gate ReadGate(const std::string& file) {
  Gate gate;
  YamlReader root(ReadYaml(file), file);
  YamlReader accuracy = root.Map("accuracy");
  SetNats(accuracy, "worse_nll", gate.accuracy.worse_nll);
  SetNats(accuracy, "resolution_nll", gate.accuracy.resolution_nll);
  SetVerdicts(accuracy, "fail_on", gate.accuracy.fail_on);
  accuracy.RefuseUnknownKeys();
  root.RefuseUnknownKeys();
  return gate;
}

std::string GateFailure(const Gate& gate, const ComparedCell& cell) {
  const AccuracyFinding& finding = cell.accuracy;
  if (!gate.accuracy.fail_on.contains(finding.verdict)) return "";
  if (finding.verdict != Verdict::kWorse) {
    return finding.why.empty() ? VerdictName(finding.verdict)
                               : fmt::format("{}: {}", VerdictName(finding.verdict), finding.why);
  }
  if (finding.interval->low <= gate.accuracy.worse_nll) return "";
  return fmt::format("worse by {:.5f} to {:.5f} nats a token, the gate allows {:g}",
                     finding.interval->low, finding.interval->high, gate.accuracy.worse_nll);
}

size_t GateFailures(const Gate& gate, const RecordComparison& comparison) {
  return static_cast<size_t>(
      std::count_if(comparison.cells.begin(), comparison.cells.end(),
                    [&](const ComparedCell& cell) { return !GateFailure(gate, cell).empty(); }));
}

}  // namespace quantref
