#pragma once

#include <optional>
#include <string>
#include <vector>

#include "eval/record_reader.h"
#include "eval/stats.h"

namespace quantref {

// What changed between two sets of records of the same experiments.

// Most alarming first: the order of every output.
enum class Verdict { kWorse, kNotComparable, kGone, kCannotTell, kNew, kBetter, kSame };
inline constexpr Verdict kVerdicts[] = {
    Verdict::kWorse, Verdict::kNotComparable, Verdict::kGone, Verdict::kCannotTell,
    Verdict::kNew,   Verdict::kBetter,        Verdict::kSame};
const char* VerdictName(Verdict verdict);  // "cannot tell"

// The half width up to which an interval around 0 says "same" instead of "cannot tell": 0.2 % of
// PPL, well below what separates methods.
inline constexpr double kDefaultResolution = 0.002;  // nats

// What another ISA, BLAS or compiler may add to the mean NLL of a window: 30 times what the
// project's own ISAs differ by, and what the reference may differ by from its goldens. An interval
// within it says "same" too.
inline constexpr double kRoundingNll = 1e-5;  // nats

// A value that is another than it was.
struct Change {
  std::string what;  // its dotted path
  std::string baseline, candidate;

  bool operator==(const Change&) const = default;
};

// Where results first went apart: a stage between text and logits, and the hash that shows it.
struct Cause {
  std::string stage;
  Change change;
};

// What the accuracies of two records say.
struct AccuracyFinding {
  Verdict verdict = Verdict::kSame;
  std::string why{};              // it cannot be compared, or nothing can be told
  bool identical = false;         // every window's NLL, bit for bit
  std::optional<double> delta{};  // mean NLL of the candidate minus that of the baseline
  std::optional<Interval> interval{};
};

struct ComparedCell {
  const StoredRecord* baseline = nullptr;   // nullptr: the cell is new
  const StoredRecord* candidate = nullptr;  // nullptr: it is gone
  AccuracyFinding accuracy{};
  std::optional<Cause> cause{};   // nothing where no recorded hash changed
  std::vector<Change> changes{};  // config keys, tool, environment: what else may explain it

  const CellName& cell() const { return (candidate != nullptr ? candidate : baseline)->cell; }
};

// Of two records of the same cell.
ComparedCell CompareRecords(const StoredRecord& baseline, const StoredRecord& candidate,
                            double resolution);

struct RecordComparison {
  const RecordSet* baseline;
  const RecordSet* candidate;
  std::vector<ComparedCell> cells;  // by verdict, then by name
};

// Of cells with the same name. The result points into the sets.
RecordComparison CompareSets(const RecordSet& baseline, const RecordSet& candidate,
                             double resolution, size_t threads);

// Two single records are given to be compared with each other: throws an Error that names the
// difference where their names differ or they are not comparable.
void RequireComparable(const RecordComparison& comparison);

}  // namespace quantref
