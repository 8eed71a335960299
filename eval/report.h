#pragma once

#include <string>
#include <vector>

#include "eval/cost.h"
#include "eval/record.h"

namespace quantref {

// The texts that run_eval shows people. Pure functions of what was measured.

// The table of a group's cells, with a line above that says what it was measured on, and stamps
// where they are due.
std::string ResultText(const GroupResult& group, const std::vector<CellResult>& cells);

// What a cell's matrices and activations are rounded to, "int4 g128 asym, a8 token".
std::string SchemeText(const CellResult& cell);

// The layer report of every quantized cell.
std::string LayersText(const std::vector<CellResult>& cells);

// What --dry-run prints.
struct PlanRow {
  std::string config, method;
  std::vector<PlannedLinear> plan;  // empty for the reference
};
std::string PlanText(const GroupResult& group, const std::vector<PlanRow>& rows, const Cost& cost);

// The loud notice that the bundled text stands in for the data set that was asked for.
std::string SampleWarning(const Text& text);

}  // namespace quantref
