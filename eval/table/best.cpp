#include "eval/table/best.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "eval/record/pairing.h"
#include "eval/record/schema.h"
#include "eval/stats/rank_sum.h"
#include "eval/stats/stats.h"
#include "eval/table/paired.h"
#include "eval/table/runs.h"
#include "harness/base/error.h"
#include "harness/base/parallel.h"

namespace quantref {
namespace {

// Cells that readers will compare: of one metric, in a column or in a row.
struct Line {
  const TableValue* shows;
  std::vector<TableCell*> cells;
};

std::vector<Line> Lines(Table& table) {
  std::vector<Line> lines;
  const size_t metrics = table.spec->cells.size();
  const bool rows = table.spec->compare_rows;
  const size_t lines_a_metric = rows ? table.rows.size() : table.columns.size() / metrics;
  for (size_t l = 0; l < lines_a_metric * metrics; ++l)
    lines.push_back({&table.spec->cells[l % metrics], {}});
  for (size_t r = 0; r < table.rows.size(); ++r) {
    for (size_t c = 0; c < table.columns.size(); ++c) {
      if (!table.cells[r][c]) continue;
      const size_t l = rows ? r * metrics + c % metrics : c;
      lines[l].cells.push_back(&*table.cells[r][c]);
    }
  }
  return lines;
}

// True where `within` keeps the two apart by one of these fields.
bool KeptApart(const TableSpec& spec, const TableRecord& a, const TableRecord& b,
               std::initializer_list<std::string_view> fields) {
  return std::any_of(spec.within.begin(), spec.within.end(), [&](const std::string& field) {
    return std::find(fields.begin(), fields.end(), field) != fields.end() &&
           a.Field(field) != b.Field(field);
  });
}

[[noreturn]] void RefuseMixture(const Table& table, const Line& line, const TableRecord& a,
                                const TableRecord& b, const std::string& what,
                                const std::string& hint) {
  throw Error(fmt::format("one {} of '{}' would mix {}: records {} ({}) and {} ({})",
                          table.spec->compare_rows ? "row" : "column", line.shows->header, what,
                          a.stored.id, a.stored.file.string(), b.stored.id, b.stored.file.string()),
              table.spec->file, hint);
}

void CheckTokens(const Table& table, const Line& line, const TableRecord& a, const TableRecord& b) {
  const auto refuse = [&](const char* what, const std::string& x, const std::string& y) {
    RefuseMixture(table, line, a, b, fmt::format("{} {} and {}", what, ShortHash(x), ShortHash(y)),
                  "choose with 'where', or make 'protocol' a field of the columns; models with "
                  "other tokenizers: compare: {within: [model]}");
  };
  const StoredRecord &x = a.stored, &y = b.stored;
  if (x.cell.protocol != y.cell.protocol) refuse("protocols", x.cell.protocol, y.cell.protocol);
  if (x.Fact("dataset.sha256") != y.Fact("dataset.sha256"))
    refuse("texts", x.Fact("dataset.sha256"), y.Fact("dataset.sha256"));
  if (x.Fact("protocol.token_sha256") == y.Fact("protocol.token_sha256")) return;
  if (KeptApart(*table.spec, a, b, {"model", "model.name"})) return;
  refuse("tokens", x.Fact("protocol.token_sha256"), y.Fact("protocol.token_sha256"));
}

void CheckMachine(const Table& table, const Line& line, const TableCell& a, const TableCell& b) {
  const auto refuse = [&](const std::string& what) {
    RefuseMixture(table, line, *a.record, *b.record, what,
                  "choose with 'where', 'tokens' and 'threads'; several machines: compare: "
                  "{within: [cpu]}");
  };
  if (a.point->tokens != b.point->tokens)
    refuse(fmt::format("speeds of {} and {} tokens", a.point->tokens, b.point->tokens));
  if (a.point->threads != b.point->threads)
    refuse(fmt::format("speeds of {} and {} threads", a.point->threads, b.point->threads));
  const std::string& cpu = a.record->stored.Fact("environment.cpu");
  const std::string& isa = a.record->stored.Fact("environment.isa");
  const bool same = cpu == b.record->stored.Fact("environment.cpu") &&
                    isa == b.record->stored.Fact("environment.isa");
  if (same || KeptApart(*table.spec, *a.record, *b.record,
                        {"cpu", "isa", "environment.cpu", "environment.isa"}))
    return;
  refuse(fmt::format("speeds of {} ({}) and {} ({})", cpu, isa,
                     b.record->stored.Fact("environment.cpu"),
                     b.record->stored.Fact("environment.isa")));
}

// Absolute speeds of several runs in one line make readers divide what was not timed together.
void CheckRuns(const Table& table, const Line& line) {
  if (!line.shows->metric->IsSpeed() || line.shows->metric->IsRatio()) return;
  std::vector<const TableRecord*> records;
  for (const TableCell* cell : line.cells) records.push_back(cell->record);
  const auto several = SeveralRuns(*table.spec, records);
  if (!several) return;
  if (!table.spec->stamp_runs) {
    const auto told = [](const TableRecord& record) {
      return fmt::format("of commit {} at {}", ShortHash(record.stored.Fact("tool.git_commit")),
                         record.stored.created);
    };
    const auto [a, b] = *several;
    RefuseMixture(table, line, *a, *b,
                  fmt::format("speeds of several runs, {} and {}", told(*a), told(*b)),
                  "show ratios (decode_vs_fp16), choose with 'where: {run: ...}', make 'run' a "
                  "field of the rows, or stamp them with 'several_runs: stamp'");
  }
  for (TableCell* cell : line.cells) {
    cell->stamps.push_back({'S',
                            "speeds of several runs in one column: compare only the ratios, each "
                            "to the FP16 of its own run",
                            true});
    std::sort(cell->stamps.begin(), cell->stamps.end());
  }
}

// Each differs from the first where any two differ, but for those that `within` keeps apart; these
// are looked at among themselves.
void CheckLine(const Table& table, const Line& line) {
  std::map<std::vector<std::string>, const TableCell*> first_of;
  for (const TableCell* cell : line.cells) {
    std::vector<std::string> group;
    for (const std::string& field : table.spec->within) group.push_back(cell->record->Field(field));
    const TableCell* nearest = first_of.emplace(group, cell).first->second;
    for (const TableCell* first : {static_cast<const TableCell*>(line.cells.front()), nearest}) {
      if (line.shows->metric->IsSpeed()) {
        CheckMachine(table, line, *first, *cell);
      } else if (line.shows->metric->path.starts_with("accuracy.")) {
        CheckTokens(table, line, *first->record, *cell->record);
      }
    }
  }
}

// Speeds drift with the hour: only cells that took turns in one run are compared.
std::string WhyOtherTimes(const TableRecord& a, const TableRecord& b) {
  if (a.busy || b.busy) return "the machine was busy";
  return a.timing == b.timing ? "" : "speeds are of different runs";
}

// How much better one is, on a scale where larger is better; only its order matters.
double Merit(const TableCell& cell, const TableMetric& metric) {
  if (metric.IsSpeed()) return cell.number.value;
  const std::vector<double>& sums = WindowsOf(*cell.record, metric);
  double sum = 0, count = 0;
  for (size_t w = 0; w < sums.size(); ++w) {
    sum += sums[w];
    count += cell.record->stored.window_scored[w];
  }
  return (metric.larger_is_better ? sum : -sum) / count;
}

// Whether the two may be equally good; nothing where that has no interval.
std::optional<bool> IsTie(const TableCell& best, const TableCell& other,
                          const TableMetric& metric) {
  if (metric.IsSpeed()) {
    const RatioOfSamples ratio = CompareSamples(other.point->samples, best.point->samples);
    if (!ratio.interval) return std::nullopt;
    return ratio.interval->Contains(1);
  }
  if (best.record->stored.window_nll.size() < kMinBlocks) return std::nullopt;
  if (metric.IsNll()) return AreTied(other.record->stored, best.record->stored);
  return MayBeEqual(WindowsOf(*other.record, metric), WindowsOf(*best.record, metric),
                    best.record->stored.window_scored);
}

// Cells of a line that are compared with each other.
struct Group {
  const TableMetric* metric;
  std::vector<TableCell*> cells;
};

const char* SamplesOf(const TableMetric& metric) {
  return metric.IsSpeed() ? "repetitions" : "windows";
}

// Marks the best of the group; why not, where it cannot be told.
std::string MarkGroup(const Group& group) {
  const TableMetric& metric = *group.metric;
  if (group.cells.size() < 2) return "";
  TableCell* best = group.cells.front();
  for (TableCell* cell : group.cells) {
    const std::string why = metric.IsSpeed()
                                ? WhyOtherTimes(*group.cells.front()->record, *cell->record)
                                : WhyUnpaired(*group.cells.front()->record, *cell->record, metric);
    if (!why.empty()) return why;
    if (Merit(*cell, metric) > Merit(*best, metric)) best = cell;
  }
  std::vector<TableCell*> tied;
  for (TableCell* cell : group.cells) {
    if (cell == best) continue;
    const std::optional<bool> tie = IsTie(*best, *cell, metric);
    if (!tie) return fmt::format("{} are too few for an interval", SamplesOf(metric));
    if (*tie) tied.push_back(cell);
  }
  for (TableCell* cell : tied) cell->mark = CellMark::kTied;
  best->mark = tied.empty() ? CellMark::kBest : CellMark::kTied;
  best->first = true;
  return "";
}

// Whether the table compares what a scheme's words say is alike.
bool ComparesSchemes(const TableSpec& spec) {
  return std::ranges::any_of(spec.within, [](const std::string& field) {
    return PathOfAlias(field).starts_with("scheme");
  });
}

// What a marked cell stores a weight, where others of its group have clearly less: its scheme does
// not say which matrices it keeps.
void AddMoreBits(const Group& group, std::set<std::string>& told) {
  const auto bits_of = [](const TableCell* cell) { return BitsAWeight(*cell->record); };
  const TableRecord& least = *(*std::ranges::min_element(group.cells, {}, bits_of))->record;
  for (const TableCell* cell : group.cells) {
    if (cell->mark == CellMark::kNone || !HasMoreBits(*cell->record, least)) continue;
    told.insert(fmt::format(
        "{} stores {:.2f} bits a weight, {}, with which it is compared, {:.2f}.",
        cell->record->Field("method"), bits_of(cell), least.Field("method"), BitsAWeight(least)));
  }
}

// Cells in doubt are in none: that is among the reasons.
std::vector<Group> GroupsOf(const TableSpec& spec, const std::vector<Line>& lines,
                            std::set<std::string>& reasons) {
  std::vector<Group> groups;
  for (const Line& line : lines) {
    if (!line.shows->marks || line.shows->metric->samples.empty()) continue;
    std::map<std::vector<std::string>, Group> by_values;
    for (TableCell* cell : line.cells) {
      const TableRecord& record = *cell->record;
      const bool competes = std::all_of(
          spec.compete.begin(), spec.compete.end(),
          [&](const FieldFilter& filter) { return filter.Passes(record.Field(filter.field)); });
      if (!competes) continue;
      if (InDoubt(cell->stamps)) {
        reasons.insert(kInDoubt);
        continue;
      }
      std::vector<std::string> values;
      for (const std::string& field : spec.within) values.push_back(record.Field(field));
      Group& group = by_values[values];
      group.metric = line.shows->metric;
      group.cells.push_back(cell);
    }
    for (auto& [values, group] : by_values) groups.push_back(std::move(group));
  }
  return groups;
}

}  // namespace

double BitsAWeight(const TableRecord& record) {
  const auto bits = record.numbers.find("effective_bits");
  return bits == record.numbers.end() ? 0 : bits->second.value;
}

bool HasMoreBits(const TableRecord& a, const TableRecord& b) {
  constexpr double kClearly = 1.05;
  return BitsAWeight(a) > kClearly * BitsAWeight(b);
}

void MarkBest(Table& table, size_t threads) {
  const std::vector<Line> lines = Lines(table);
  for (const Line& line : lines) {
    CheckLine(table, line);
    CheckRuns(table, line);
  }
  const std::vector<Group> groups = GroupsOf(*table.spec, lines, table.unmarked);
  std::vector<std::string> why(groups.size());
  ParallelFor(groups.size(), threads, [&](size_t i, size_t) { why[i] = MarkGroup(groups[i]); });
  for (std::string& reason : why) {
    if (!reason.empty()) table.unmarked.insert(std::move(reason));
  }
  if (!ComparesSchemes(*table.spec)) return;
  for (const Group& group : groups) AddMoreBits(group, table.more_bits);
}

}  // namespace quantref
