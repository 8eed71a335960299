#include "eval/table/paired.h"

#include "eval/compare/changes.h"
#include "eval/record/pairing.h"

namespace quantref {

const std::vector<double>& WindowsOf(const TableRecord& record, const TableMetric& metric) {
  static const std::vector<double> none;
  if (metric.IsNll()) return record.stored.window_nll;
  const auto sums = record.windows.find(metric.samples);
  return sums == record.windows.end() ? none : sums->second;
}

std::string WhyUnpaired(const TableRecord& a, const TableRecord& b, const TableMetric& metric) {
  if (!IdentityChanges(a.stored, b.stored).empty()) return "the models differ";
  if (OtherWindows(a.stored, b.stored)) return "the windows differ";
  if (OtherReference(a.stored, b.stored)) return "the references differ";
  const bool known = !WindowsOf(a, metric).empty() && !WindowsOf(b, metric).empty();
  return known ? "" : "the records hold no windows of this metric";
}

}  // namespace quantref
