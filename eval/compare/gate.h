#pragma once

#include <set>
#include <string>
#include <vector>

#include "eval/compare/cells.h"

namespace quantref {

// When a comparison fails: results/gate.yaml shows every key with its default.
struct Gate {
  struct Accuracy {
    double worse_nll = 0;  // nats: worse counts where the interval lies wholly above
    double resolution_nll = kDefaultResolution;  // nats: see CompareRecords
    std::set<Verdict> fail_on = {Verdict::kWorse, Verdict::kNotComparable, Verdict::kCannotTell,
                                 Verdict::kGone};
    bool fail_on_changed = true;  // other packed weights (ComparedCell::other_weights)
  };
  struct Speed {
    SpeedLimits limits;
    std::set<Verdict> fail_on = {Verdict::kWorse, Verdict::kNotComparable, Verdict::kCannotTell,
                                 Verdict::kGone};
  };
  Accuracy accuracy;
  Speed speed;
};

Gate ReadGate(const std::string& file);

// Why the cell fails the gate by its accuracy, and by its speed; "" where it passes.
std::string GateFailure(const Gate& gate, const ComparedCell& cell);
std::string SpeedGateFailure(const Gate& gate, const ComparedCell& cell);

// The verdicts as gate.yaml names them: "worse, changed, unjudged, missing".
std::vector<std::string> FailOnNames(const Gate::Accuracy& gate);
std::vector<std::string> FailOnNames(const Gate::Speed& gate);

// How many cells fail.
struct GateFailureCounts {
  size_t accuracy = 0, speed = 0;
  size_t cells = 0;  // that fail by either
};
GateFailureCounts GateFailures(const Gate& gate, const RecordComparison& comparison);

// Of how many accuracies, or speeds, the comparison said better, worse or same.
struct JudgedCounts {
  size_t judged = 0, all = 0;
};
JudgedCounts JudgedAccuracies(const RecordComparison& comparison);
JudgedCounts JudgedRates(const RecordComparison& comparison);

}  // namespace quantref
