#pragma once

#include <string>
#include <vector>

#include "eval/table/records.h"

namespace quantref {

// The windows of two records side by side, as far as a metric compares them.

// The metric's sums of each window; empty where the record has none.
const std::vector<double>& WindowsOf(const TableRecord& record, const TableMetric& metric);

// Why the windows of two records cannot be paired; "" where they can.
std::string WhyUnpaired(const TableRecord& a, const TableRecord& b, const TableMetric& metric);

}  // namespace quantref
