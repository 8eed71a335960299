#pragma once

#include <optional>
#include <string>
#include <vector>

#include "eval/run/cost.h"
#include "eval/run/record.h"
#include "eval/run/report_headline.h"

namespace quantref {

// The texts that run_eval shows people. Pure functions of what was measured.

// How much of the tables there is room for, and who asked for what.
struct TableView {
  std::optional<size_t> width{};       // of the lines; nothing: any
  std::vector<std::string> columns{};  // of the result, by name; "all"; empty: as many as fit
};

// What `columns` may name. Error where it names something else.
const std::vector<std::string>& ResultColumnNames();
void CheckColumns(const std::vector<std::string>& columns);

// The table of a group's cells, with a line above that says what it was measured on, and stamps
// where they are due.
std::string ResultText(const GroupResult& group, const std::vector<CellResult>& cells,
                       const TableView& view);
// The same of results that are at hand without their group. `notices`: lines below the headline.
std::string ResultText(const MeasuredOn& on, const std::string& notices,
                       const std::vector<CellResult>& cells, const TableView& view);

// The table alone, with a line below it that names the columns that there was no room for. Of
// models of random weights: their speed.
std::string ResultTable(const std::vector<CellResult>& cells, const TableView& view);

// What a cell's matrices and activations are rounded to, "int4 g128 asym, a8 token".
std::string SchemeText(const CellResult& cell);

// The layer report of every quantized cell.
std::string LayersText(const std::vector<CellResult>& cells, const TableView& view);

// Why a method has no cell: it would be the reference under another name.
std::string UnquantizedText(const std::string& config, const std::string& method);

// What --dry-run prints of a group: its cells with what each costs, and all of them together.
struct PlanRow {
  std::string config, method;
  std::vector<PlannedLinear> plan;           // empty for the reference
  std::string when;                          // "pass 1", "finished"
  double quantize_seconds = 0, seconds = 0;  // expected; 0: nothing to do
};
std::string PlanText(const GroupResult& group, const std::vector<PlanRow>& rows, const Cost& cost);

// The last line of --dry-run: "expected: about 2:05 to measure ..., up to 0.3 GB of memory
// of 25.3, 1.2 MB of records". `what`: is priced.
std::string CostText(const std::string& what, const Cost& cost);

}  // namespace quantref
