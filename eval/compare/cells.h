#pragma once

#include <optional>
#include <string>
#include <vector>

#include "eval/compare/changes.h"
#include "eval/compare/speed.h"
#include "eval/compare/verdict.h"
#include "eval/record/reader.h"
#include "eval/stats/stats.h"

namespace quantref {

// What changed between two sets of records of the same experiments.

// The half width up to which an interval around 0 says "same" instead of "cannot tell": 0.2 % of
// PPL, well below what separates methods.
// An interval of rounding alone (record/pairing.h) says it too.
inline constexpr double kDefaultResolution = 0.002;  // nats

// What the accuracies of two records say.
struct AccuracyFinding {
  Verdict verdict = Verdict::kSame;
  std::string why{};              // it cannot be compared, or nothing can be told
  bool identical = false;         // every window's NLL, bit for bit
  std::optional<double> delta{};  // mean NLL of the candidate minus that of the baseline
  std::optional<Interval> interval{};
};

struct ComparedCell {
  const StoredRecord* baseline = nullptr;     // nullptr: the cell is new
  const StoredRecord* candidate = nullptr;    // nullptr: it is gone
  std::optional<AccuracyFinding> accuracy{};  // nothing where no record has any
  std::optional<SpeedFinding> speed{};        // nothing where no record has any
  std::optional<Cause> cause{};               // nothing where no recorded hash changed
  std::vector<Change> changes{};  // config keys, tool, environment: what else may explain it
  // The packed weights are others although nothing else could have changed their bits: whatever the
  // accuracies say, it is another method or another rounding.
  bool other_weights = false;

  bool Identical() const { return accuracy && accuracy->identical; }  // its accuracy
  const CellName& cell() const { return (candidate != nullptr ? candidate : baseline)->cell; }
};

// Of two records of the same cell.
ComparedCell CompareRecords(const StoredRecord& baseline, const StoredRecord& candidate,
                            double resolution, const SpeedLimits& speed = {});

struct RecordComparison {
  const RecordSet* baseline;
  const RecordSet* candidate;
  std::vector<ComparedCell> cells;  // by verdict of accuracy, then of speed, then by name
};

// Of cells with the same name. The result points into the sets.
RecordComparison CompareSets(const RecordSet& baseline, const RecordSet& candidate,
                             double resolution, size_t threads, const SpeedLimits& speed = {});

// Two single records are given to be compared with each other: throws an Error that names the
// difference where their names differ or they are not comparable.
void RequireComparable(const RecordComparison& comparison);

}  // namespace quantref
