#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "eval/stats/stats.h"
#include "eval/table/analysis_table.h"
#include "eval/table/records.h"

namespace quantref {

// The analyses, for analysis.cpp, and what several of them need.

AnalysisTable StandardErrorsAnalysis(const TableRecords& records, size_t threads);
AnalysisTable CoverageAnalysis(const TableRecords& records, size_t threads);
AnalysisTable VarianceComponentsAnalysis(const TableRecords& records, size_t threads);
AnalysisTable ArithmeticAnalysis(const TableRecords& records, size_t threads);

// What a row's first columns say: model, protocol, weights and method, by the short names of
// fields.
std::vector<std::string> CellNameFields();
std::vector<std::string> CellNames(const TableRecord& record);

// A quantity whose sums over windows a record has, with the error of its mean if tokens were
// independent.
struct WindowQuantity {
  std::string name;
  std::vector<BlockSum> blocks;
  double token_error = 0;
};
// Of the reference the NLL alone; of cells what they differ from it by: ΔNLL, and KL and the same
// top-1, where these were measured.
std::vector<WindowQuantity> QuantitiesOf(const TableRecord& record);
// The fields that it needs.
std::vector<std::string> QuantityFields();

// Records of one group by what tells them from others, in the order of their keys.
using RecordGroups =
    std::vector<std::pair<std::vector<std::string>, std::vector<const TableRecord*>>>;
// By model, protocol, text and the windows that were measured. Those of synthetic models are left
// out; Error where none is left.
RecordGroups ByWindows(const TableRecords& records);

// The records of a group are of the same windows, or Error.
void RequireSameWindows(const std::vector<const TableRecord*>& records);

// "3.76", "1.21 to 1.36"
std::string RangeText(const std::vector<double>& values, size_t digits);

}  // namespace quantref
