#include "eval/compare/cells.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "eval/record/pairing.h"
#include "eval/stats/stats.h"
#include "harness/base/error.h"
#include "harness/base/parallel.h"

namespace quantref {
namespace {

std::string Differs(const Change& change) {
  return fmt::format("{} differs: {} and {}", change.what, ShortHash(change.baseline),
                     ShortHash(change.candidate));
}

// Why these are not measurements against one reference; "" where they are.
std::string HarnessChange(const StoredRecord& a, const StoredRecord& b) {
  const std::optional<ReferenceChange> change = OtherReference(a, b);
  if (!change) return "";
  const std::vector<Change> inputs = InputChanges(a, b);
  return fmt::format(
      "{}: the reference gives other NLLs, {:.9g} and {:.9g} nats a token in window {}{}",
      inputs.empty() ? "the harness changed" : Differs(inputs.front()), change->before, change->now,
      change->window,
      change->elsewhere ? "; more than the rounding of another machine" : " on the same machine");
}

// Why two records cannot be compared; "" where they can.
std::string WhyNotComparable(const StoredRecord& a, const StoredRecord& b) {
  for (const StoredRecord* record : {&a, &b}) {
    if (!record->Interrupted()) continue;
    return fmt::format("the run of the {} was interrupted (run_eval --resume completes it)",
                       record == &a ? "baseline" : "candidate");
  }
  const std::vector<Change> identity = IdentityChanges(a, b);
  if (!identity.empty()) {
    std::string why = Differs(identity.front());
    for (size_t i = 1; i < identity.size(); ++i)
      why += (i == 1 ? "; so does " : ", ") + identity[i].what;
    return why;
  }
  if (const auto windows = OtherWindows(a, b)) return Differs(*windows);
  return HarnessChange(a, b);
}

AccuracyFinding CompareAccuracy(const StoredRecord& a, const StoredRecord& b, double resolution) {
  AccuracyFinding finding;
  finding.why = WhyNotComparable(a, b);
  if (!finding.why.empty()) {
    finding.verdict = Verdict::kNotComparable;
    return finding;
  }
  const std::vector<BlockSum> blocks =
      DifferenceBlocks(b.window_nll, a.window_nll, a.window_scored);
  finding.identical = a.window_nll == b.window_nll;
  finding.delta = BlockMean(blocks);
  finding.interval = MeanInterval(blocks);
  if (finding.identical) return finding;  // same
  if (!finding.interval) {
    finding.verdict = Verdict::kCannotTell;
    finding.why =
        fmt::format("{} windows give no interval, {} do", a.window_nll.size(), kMinBlocks);
    return finding;
  }
  const Interval& interval = *finding.interval;
  if (IsRounding(interval)) return finding;  // same
  if (!interval.Contains(0)) {
    finding.verdict = interval.low > 0 ? Verdict::kWorse : Verdict::kBetter;
  } else if (interval.HalfWidth() > resolution) {
    finding.verdict = Verdict::kCannotTell;
    finding.why = fmt::format("the interval holds 0 but is wider than ±{:g} nats", resolution);
  }
  return finding;
}

// Of a cell that one of the two may lack.
ComparedCell CompareOne(const StoredRecord* baseline, const StoredRecord* candidate,
                        double resolution, const SpeedLimits& speed) {
  if (baseline != nullptr && candidate != nullptr)
    return CompareRecords(*baseline, *candidate, resolution, speed);
  ComparedCell cell{baseline, candidate};
  const StoredRecord& only = baseline == nullptr ? *candidate : *baseline;
  const Verdict verdict = baseline == nullptr ? Verdict::kNew : Verdict::kGone;
  // A cell without any figures is still one that is new or gone.
  cell.speed = CompareSpeed(baseline, candidate, speed);
  if (only.HasAccuracy() || !cell.speed) cell.accuracy = AccuracyFinding{.verdict = verdict};
  return cell;
}

struct Pair {
  const StoredRecord* baseline = nullptr;
  const StoredRecord* candidate = nullptr;
};

// Those that match, or have no match, by the names that `name_of` gives them.
template <typename NameOf>
std::vector<Pair> MatchBy(const std::vector<const StoredRecord*>& baseline,
                          const std::vector<const StoredRecord*>& candidate,
                          const NameOf& name_of) {
  std::multimap<CellName, Pair> pairs;
  for (const StoredRecord* record : baseline) pairs.insert({name_of(*record), {record, nullptr}});
  for (const StoredRecord* record : candidate) {
    const auto [begin, end] = pairs.equal_range(name_of(*record));
    const auto at = std::find_if(
        begin, end, [](const auto& entry) { return entry.second.candidate == nullptr; });
    if (at != end) {
      at->second.candidate = record;
    } else {
      pairs.insert({name_of(*record), {nullptr, record}});
    }
  }
  std::vector<Pair> list;
  for (const auto& [name, pair] : pairs) list.push_back(pair);
  return list;
}

CellName WithoutIdentity(const CellName& cell) {
  CellName name = cell;
  name.identity.clear();
  return name;
}

// The same weights first, under whatever name; then the same name, of which the comparison will say
// that its weights are others.
std::vector<Pair> MatchCells(const RecordSet& baseline, const RecordSet& candidate) {
  const auto all = [](const RecordSet& set) {
    std::vector<const StoredRecord*> list;
    for (const StoredRecord& record : set.records) list.push_back(&record);
    return list;
  };
  std::vector<Pair> pairs;
  std::vector<const StoredRecord*> gone, fresh;
  for (const Pair& pair : MatchBy(all(baseline), all(candidate),
                                  [](const StoredRecord& record) { return record.cell; })) {
    if (pair.baseline != nullptr && pair.candidate != nullptr) {
      pairs.push_back(pair);
    } else {
      (pair.baseline != nullptr ? gone : fresh)
          .push_back(pair.baseline != nullptr ? pair.baseline : pair.candidate);
    }
  }
  for (const Pair& pair : MatchBy(
           gone, fresh, [](const StoredRecord& record) { return WithoutIdentity(record.cell); }))
    pairs.push_back(pair);
  const auto name = [](const Pair& pair) {
    return WithoutIdentity((pair.candidate != nullptr ? pair.candidate : pair.baseline)->cell);
  };
  std::stable_sort(pairs.begin(), pairs.end(),
                   [&](const Pair& a, const Pair& b) { return name(a) < name(b); });
  return pairs;
}

std::string SeedText(const CellName& cell) {
  return cell.seed ? std::to_string(*cell.seed) : "none";
}

// The first part of the names that differs.
Change OtherName(const CellName& a, const CellName& b) {
  if (a.config != b.config) return {"config.name", a.config, b.config};
  if (a.method != b.method) return {"method", a.method, b.method};
  if (a.model != b.model) return {"model.name", a.model, b.model};
  if (a.protocol != b.protocol) return {"protocol.name", a.protocol, b.protocol};
  return {"calibration.seed (of several)", SeedText(a), SeedText(b)};
}

}  // namespace

const char* VerdictName(Verdict verdict) {
  switch (verdict) {
    case Verdict::kWorse:
      return "worse";
    case Verdict::kNotComparable:
      return "not comparable";
    case Verdict::kGone:
      return "gone";
    case Verdict::kCannotTell:
      return "cannot tell";
    case Verdict::kNew:
      return "new";
    case Verdict::kBetter:
      return "better";
    case Verdict::kSame:
      return "same";
  }
  return "";
}

ComparedCell CompareRecords(const StoredRecord& baseline, const StoredRecord& candidate,
                            double resolution, const SpeedLimits& speed) {
  ComparedCell cell{&baseline, &candidate};
  if (baseline.HasAccuracy() || candidate.HasAccuracy())
    cell.accuracy = CompareAccuracy(baseline, candidate, resolution);
  cell.speed = CompareSpeed(&baseline, &candidate, speed);
  if (cell.accuracy && !cell.Identical()) {
    cell.cause = FirstChangedStage(baseline, candidate);
    cell.other_weights = HasOtherWeights(baseline, candidate);
  }
  const bool other_speed = cell.speed && cell.speed->verdict != Verdict::kSame;
  if (other_speed || (cell.accuracy && !cell.Identical()))
    cell.changes = OtherChanges(baseline, candidate);
  return cell;
}

RecordComparison CompareSets(const RecordSet& baseline, const RecordSet& candidate,
                             double resolution, size_t threads, const SpeedLimits& speed) {
  const std::vector<Pair> pairs = MatchCells(baseline, candidate);
  RecordComparison comparison{&baseline, &candidate, std::vector<ComparedCell>(pairs.size())};
  ParallelFor(pairs.size(), threads, [&](size_t i, size_t) {
    comparison.cells[i] = CompareOne(pairs[i].baseline, pairs[i].candidate, resolution, speed);
  });
  const auto alarm = [](const ComparedCell& cell) {
    return std::pair(cell.accuracy ? cell.accuracy->verdict : Verdict::kSame,
                     cell.speed ? cell.speed->verdict : Verdict::kSame);
  };
  std::stable_sort(
      comparison.cells.begin(), comparison.cells.end(),
      [&](const ComparedCell& a, const ComparedCell& b) { return alarm(a) < alarm(b); });
  return comparison;
}

void RequireComparable(const RecordComparison& comparison) {
  const StoredRecord& baseline = comparison.baseline->records.front();
  const StoredRecord& candidate = comparison.candidate->records.front();
  const std::string where = baseline.file.string() + ", " + candidate.file.string();
  if (comparison.cells.size() > 1) {
    throw Error("not the same cell: " + Differs(OtherName(baseline.cell, candidate.cell)), where,
                "records are matched by config, method, model and protocol");
  }
  const ComparedCell& cell = comparison.cells.front();
  if (cell.accuracy && cell.accuracy->verdict == Verdict::kNotComparable)
    throw Error("not comparable: " + cell.accuracy->why, where);
  const bool no_speed = cell.speed && cell.speed->verdict == Verdict::kNotComparable;
  if (!cell.accuracy && no_speed)
    throw Error("not comparable: " + cell.speed->rates.front().why, where);
  if (!cell.accuracy && !cell.speed) {
    throw Error("nothing to compare: neither accuracy nor the speed of whole models", where,
                "throughput.prefill and .decode ask for it");
  }
}

}  // namespace quantref
