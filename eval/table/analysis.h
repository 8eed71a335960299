#pragma once

#include <optional>
#include <string>
#include <vector>

#include "eval/table/analysis_table.h"
#include "eval/table/records.h"
#include "eval/table/spec.h"

namespace quantref {

// Tables whose rows are no cells of records, but what many of them say together: the `analysis` of
// a spec. results/tables/README.md says what each needs and shows.

const std::vector<std::string>& AnalysisNames();
// Fields that records are read with for it.
std::vector<std::string> AnalysisFields(const std::string& name);

// Of the spec's analysis. Error where the records are not what it needs, with what is missing.
AnalysisTable Analyze(const TableSpec& spec, const TableRecords& records, size_t threads);

// Markdown, CSV or text; Error for another format. Same records, same bytes.
std::string AnalysisAs(const AnalysisTable& table, const TableSpec& spec,
                       const TableRecords& records, TableFormat format,
                       std::optional<size_t> width = std::nullopt);

}  // namespace quantref
