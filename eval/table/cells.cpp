#include "eval/table/cells.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "eval/compare/changes.h"
#include "eval/record/pairing.h"
#include "eval/stats/rank_sum.h"
#include "eval/support/figure_text.h"
#include "eval/table/best.h"
#include "eval/table/natural_order.h"
#include "eval/table/questions.h"
#include "eval/table/runs.h"
#include "harness/base/error.h"

namespace quantref {
namespace {

using Values = std::vector<std::string>;
using Place = std::pair<Values, Values>;  // row, column
using Claims = std::map<Place, std::vector<const TableRecord*>>;

class FieldOrder {
 public:
  explicit FieldOrder(const std::vector<TableField>& fields) : fields_(fields) {}

  bool operator()(const Values& a, const Values& b) const {
    for (size_t f = 0; f < fields_.size(); ++f) {
      if (a[f] == b[f]) continue;
      const size_t rank_a = fields_[f].Rank(a[f]), rank_b = fields_[f].Rank(b[f]);
      return rank_a != rank_b ? rank_a < rank_b : NaturallyLess(a[f], b[f]);
    }
    return false;
  }

 private:
  const std::vector<TableField>& fields_;
};

Values ValuesOf(const TableRecord& record, const std::vector<TableField>& fields) {
  Values values;
  for (const TableField& field : fields) values.push_back(record.Field(field.field));
  return values;
}

// Each that occurs once, in order.
std::vector<Values> Distinct(std::vector<Values> values, const std::vector<TableField>& fields) {
  std::sort(values.begin(), values.end(), FieldOrder(fields));
  values.erase(std::unique(values.begin(), values.end()), values.end());
  return values;
}

// The timed point that a cell shows: the one asked for, else that with the most threads, then
// tokens.
const SpeedPoint* PointOf(const TableRecord& record, const TableValue& value) {
  const auto& points = value.metric->IsPrefill() ? record.prefill : record.decode;
  const SpeedPoint* best = nullptr;
  for (const SpeedPoint& point : points) {
    if (value.tokens && point.tokens != *value.tokens) continue;
    if (value.threads && point.threads != *value.threads) continue;
    const auto size = [](const SpeedPoint& p) { return std::tie(p.threads, p.tokens); };
    if (best == nullptr || size(point) > size(*best)) best = &point;
  }
  return best;
}

std::vector<Stamp> StampsOf(const TableRecord& record, const TableMetric& metric) {
  const bool of_accuracy = metric.path.starts_with("accuracy.");
  std::vector<Stamp> stamps;
  for (const Stamp& stamp : record.stored.stamps) {
    if (stamp.speed ? metric.IsSpeed() : of_accuracy) stamps.push_back(stamp);
  }
  return stamps;
}

// Of each run and model the FP16 cell, which the others' speeds are ratios to where the records do
// not hold its samples themselves.
using References = std::map<std::pair<std::string, std::string>, const TableRecord*>;

void AddReference(const TableRecord& record, References& references) {
  if (record.stored.cell.reference && !record.timing.empty())
    references[{record.timing, record.stored.cell.Model()}] = &record;
}

// What the cell's ratio is to; empty where that was not read.
std::vector<double> SamplesOfFp16(const TableRecord& record, const SpeedPoint& point,
                                  const TableValue& value, const References& references) {
  if (!point.fp16_samples.empty()) return point.fp16_samples;
  const auto reference = references.find({record.timing, record.stored.cell.Model()});
  if (reference == references.end()) return {};
  TableValue same = value;
  same.tokens = point.tokens;
  same.threads = point.threads;
  const SpeedPoint* of_fp16 = PointOf(*reference->second, same);
  return of_fp16 == nullptr ? std::vector<double>{} : of_fp16->samples;
}

// The ratio of the medians, with the test's interval where FP16's samples were read.
Figure RatioToFp16(const TableRecord& record, const TableCell& cell, const TableValue& value,
                   const References& references) {
  Figure number{*cell.point->vs_fp16};
  const std::vector<double> of_fp16 = SamplesOfFp16(record, *cell.point, value, references);
  if (of_fp16.empty()) return number;
  const RatioOfSamples ratio = CompareSamples(of_fp16, cell.point->samples);
  if (!ratio.interval) return number;
  number.low = ratio.interval->low;
  number.high = ratio.interval->high;
  return number;
}

std::optional<TableCell> CellOf(const TableRecord& record, const TableValue& value,
                                const References& references) {
  TableCell cell{&record, {}};
  cell.stamps = StampsOf(record, *value.metric);
  if (!value.metric->IsSpeed()) {
    const auto number = record.numbers.find(value.metric->name);
    if (number == record.numbers.end()) return std::nullopt;
    cell.number = number->second;
    return cell;
  }
  cell.point = PointOf(record, value);
  if (cell.point == nullptr) return std::nullopt;
  if (!value.metric->IsRatio()) {
    cell.number = {cell.point->median, cell.point->low, cell.point->high};
  } else if (cell.point->vs_fp16) {
    cell.number = RatioToFp16(record, cell, value, references);
  } else {
    return std::nullopt;
  }
  return cell;
}

// Two measurements of one reference.
bool SameReference(const TableRecord& a, const TableRecord& b) {
  const StoredRecord &x = a.stored, &y = b.stored;
  return x.cell.reference && y.cell.reference && IdentityChanges(x, y).empty() &&
         !OtherWindows(x, y) && !OtherReference(x, y);
}

std::string WhatDiffers(const StoredRecord& a, const StoredRecord& b) {
  if (a.cell.config != b.cell.config)
    return fmt::format("config {} and {}", a.cell.config, b.cell.config);
  if (a.cell.method != b.cell.method)
    return fmt::format("method {} and {}", a.cell.method, b.cell.method);
  if (a.cell.Model() != b.cell.Model()) {
    return fmt::format("model {} (weights {}) and {} (weights {})", a.cell.model,
                       ShortHash(a.Fact("model.sha256")), b.cell.model,
                       ShortHash(b.Fact("model.sha256")));
  }
  if (a.cell.protocol != b.cell.protocol)
    return fmt::format("protocol {} and {}", a.cell.protocol, b.cell.protocol);
  if (const auto windows = OtherWindows(a, b))
    return fmt::format("{} {} and {}", windows->what, windows->baseline, windows->candidate);
  if (const auto reference = OtherReference(a, b)) {
    return fmt::format("a reference of {:.9g} and {:.9g} nats a token in window {}",
                       reference->before, reference->now, reference->window);
  }
  return fmt::format("calibration seed {} and {}", a.cell.seed ? std::to_string(*a.cell.seed) : "-",
                     b.cell.seed ? std::to_string(*b.cell.seed) : "-");
}

// Several configs measure the reference anew; apart from that a place belongs to one record.
void RequireOne(const TableSpec& spec, const std::vector<const TableRecord*>& records) {
  for (size_t i = 1; i < records.size(); ++i) {
    if (SameReference(*records[0], *records[i])) continue;
    const StoredRecord &a = records[0]->stored, &b = records[i]->stored;
    throw Error(fmt::format("two records claim one cell: {} and {}, of {}", a.file.string(),
                            b.file.string(), WhatDiffers(a, b)),
                spec.file, "name that field in 'rows' or 'columns', or choose with 'where'");
  }
}

// The newest that has the value. A reference's speed is shown beside cells that it took turns with
// alone.
std::optional<TableCell> Choose(const std::vector<const TableRecord*>& records,
                                const TableValue& value, const References& references,
                                const CellTimings& timings) {
  for (const TableRecord* record : records) {
    std::optional<TableCell> cell = CellOf(*record, value, references);
    if (!cell) continue;
    const bool speed = cell->point != nullptr && record->stored.cell.reference;
    if (!speed || timings.AreOf(*record)) return cell;
  }
  return std::nullopt;
}

// One way of writing intervals a column.
void ChooseUncertainty(Table& table) {
  for (size_t c = 0; c < table.columns.size(); ++c) {
    UncertaintyStyle style = table.columns[c].shows->uncertainty;
    for (const auto& row : table.cells) {
      const bool lopsided = row[c] && IsLopsided(row[c]->number);
      if (lopsided && style == UncertaintyStyle::kPlusMinus) style = UncertaintyStyle::kInterval;
    }
    for (auto& row : table.cells) {
      if (row[c]) row[c]->uncertainty = style;
    }
  }
}

}  // namespace

Table MakeTable(const TableSpec& spec, const TableRecords& records, size_t threads) {
  if (records.records.empty())
    throw Error("no record is left for the table", spec.file + ": where",
                fmt::format("{} were read", records.ids.size()));
  Claims claims;
  std::vector<Values> rows, columns;
  for (const TableRecord& record : records.records) {
    rows.push_back(ValuesOf(record, spec.rows));
    columns.push_back(ValuesOf(record, spec.columns));
    claims[{rows.back(), columns.back()}].push_back(&record);
  }
  for (auto& [place, claimants] : claims) {
    std::sort(claimants.begin(), claimants.end(), [](const TableRecord* a, const TableRecord* b) {
      return IsNewer(a->stored, b->stored);
    });
    RequireOne(spec, claimants);
  }
  Table table{&spec, Distinct(std::move(rows), spec.rows), {}, {}};
  for (const Values& values : Distinct(std::move(columns), spec.columns)) {
    for (const TableValue& value : spec.cells) table.columns.push_back({values, &value});
  }
  References references;
  for (const TableRecord& record : records.records) AddReference(record, references);
  const CellTimings timings(spec, records);
  for (const Values& row : table.rows) {
    auto& cells = table.cells.emplace_back(table.columns.size());
    for (size_t c = 0; c < cells.size(); ++c) {
      const auto claim = claims.find({row, table.columns[c].values});
      if (claim != claims.end())
        cells[c] = Choose(claim->second, *table.columns[c].shows, references, timings);
    }
  }
  ChooseUncertainty(table);
  MarkBest(table, threads);
  table.answers = AnswerQuestions(spec, records, threads);
  return table;
}

Table MakeTableOfEach(const TableSpec& spec, const std::vector<const TableRecord*>& records,
                      size_t threads) {
  Table table{&spec, {}, {}, {}};
  for (const TableValue& value : spec.cells) table.columns.push_back({{}, &value});
  References references;
  for (const TableRecord* record : records) AddReference(*record, references);
  for (const TableRecord* record : records) {
    table.rows.push_back(ValuesOf(*record, spec.rows));
    auto& cells = table.cells.emplace_back();
    for (const TableValue& value : spec.cells) cells.push_back(CellOf(*record, value, references));
  }
  ChooseUncertainty(table);
  MarkBest(table, threads);
  return table;
}

}  // namespace quantref
