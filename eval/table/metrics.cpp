#include "eval/table/metrics.h"

#include "eval/record/schema.h"

namespace quantref {
namespace {

TableMetric MetricOf(const RecordField& field) {
  const FieldMetric& shown = field.metric;
  TableMetric metric{.name = std::string(shown.name),
                     .header = std::string(shown.header),
                     .path = field.path,
                     .interval_path = std::string(shown.interval),
                     .samples = std::string(shown.samples),
                     .larger_is_better = shown.larger_is_better,
                     .digits = shown.digits,
                     .is_signed = shown.is_signed,
                     .factor = shown.factor,
                     .offset = shown.offset};
  // Speeds are items of lists, one a timed point.
  const size_t item = field.path.find("[].");
  metric.is_speed = item != std::string::npos;
  if (!metric.is_speed) return metric;
  metric.path = field.path.substr(0, item);
  metric.interval_path = field.Name();
  return metric;
}

}  // namespace

const std::vector<TableMetric>& TableMetrics() {
  static const std::vector<TableMetric> metrics = [] {
    std::vector<TableMetric> all;
    for (const RecordField& field : RecordSchema()) {
      if (!field.metric.name.empty()) all.push_back(MetricOf(field));
    }
    return all;
  }();
  return metrics;
}

const TableMetric* FindTableMetric(const std::string& name) {
  for (const TableMetric& metric : TableMetrics()) {
    if (metric.name == name) return &metric;
  }
  return nullptr;
}

}  // namespace quantref
