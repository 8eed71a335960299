#include "eval/table/results_cells.h"

#include <fmt/format.h>

#include <algorithm>

#include "eval/record/reference.h"
#include "eval/table/cells.h"
#include "eval/table/render.h"
#include "eval/table/results_speed.h"

namespace quantref {
namespace {

// A column for the metric of accuracy, where one of the results has it.
void AddMetric(const Results& results, const ResultMetric& shown, TableSpec& spec) {
  const auto has = [&](const Result& result) {
    return result.table.numbers.count(shown.metric) > 0;
  };
  if (std::ranges::none_of(results, has)) return;
  spec.cells.push_back({.metric = FindTableMetric(shown.metric),
                        .header = shown.header,
                        .uncertainty = shown.uncertainty,
                        .marks = shown.marks});
}

// A column of ratios to FP16, of the timing that the text of results shows.
void AddRatio(const Results& results, const char* name, TableSpec& spec) {
  const TableMetric* metric = FindTableMetric(name);
  const SpeedPoint* point = PointOfText(results, metric->IsPrefill());
  if (point == nullptr) return;
  spec.cells.push_back({.metric = metric,
                        .header = metric->header,
                        .tokens = point->tokens,
                        .threads = point->threads});
}

// The config and seeds only where there are several.
std::vector<TableField> RowFields(const Results& results) {
  std::vector<TableField> fields;
  const auto add = [&](const char* field, const char* name) {
    fields.push_back({.field = field, .name = name});
  };
  const std::string& config = results.front().cell().config;
  if (std::ranges::any_of(results, [&](const Result& r) { return r.cell().config != config; }))
    add("config", "config");
  add("scheme", "weights");
  add("method", "method");
  if (std::ranges::any_of(results, [](const Result& r) { return r.cell().seed.has_value(); }))
    add("seed", "seed");
  return fields;
}

TableSpec SpecOf(const Results& results) {
  TableSpec spec;
  spec.file = "records";
  spec.compete = {{"method", {fmt::format("!{}", kAnyReference)}}};
  for (const ResultMetric& shown : ResultMetrics()) AddMetric(results, shown, spec);
  return spec;
}

std::vector<const TableRecord*> RecordsOf(const Results& results) {
  std::vector<const TableRecord*> records;
  for (const Result& result : results) records.push_back(&result.table);
  return records;
}

}  // namespace

const std::vector<ResultMetric>& ResultMetrics() {
  static const std::vector<ResultMetric> metrics = {
      {"bits", "effective_bits", "bits/weight", 60, "bits"},
      {"ppl", "ppl", "PPL", 100},
      {"change", "delta_ppl", "change (%)", 90, nullptr, UncertaintyStyle::kInterval, true},
      {"kl", "kl_mean", "KL (nats)", 70, "KL"},
      {"top1", "top1", "same top-1 (%)", 65, "top-1"},
  };
  return metrics;
}

const ResultMetric& ResultMetricOf(const TableColumn& column) {
  return *std::ranges::find(ResultMetrics(), column.shows->metric->name, &ResultMetric::metric);
}

ResultCells::ResultCells(const Results& results)
    : spec_(SpecOf(results)), table_(MakeTableOfEach(spec_, RecordsOf(results), 1)) {}

std::string ResultsAs(const Results& results, TableFormat format) {
  TableSpec spec = SpecOf(results);
  spec.title = "What quantization does to " + results.front().table.Field("model");
  spec.rows = RowFields(results);
  for (TableValue& value : spec.cells) {  // as a spec's
    value.header = value.metric->header;
    value.marks = true;
  }
  for (const char* ratio : {"prefill_vs_fp16", "decode_vs_fp16"}) AddRatio(results, ratio, spec);
  return TableAs(MakeTableOfEach(spec, RecordsOf(results), 1), format);
}

}  // namespace quantref
