#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "eval/cost/cost.h"
#include "eval/facts/group_result.h"

namespace quantref {

// What run_eval says beside the table of its records (table/results.h): plans, costs, and what is
// loud. Pure functions of what was read and measured; each line with its end, "" where there is
// nothing to say.

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

// What is known after so many windows: a line and a table of perplexities, the reference's first,
// of the models by these names.
std::string LookText(const std::vector<std::string>& names, const ScoreTable& scores,
                     std::span<const Window> windows, size_t measured, std::optional<size_t> width);

// Why a run failed: the cell, the gap that was expected at most and the one found.
std::string GapMessage(const CellResult& cell);

// The loud notice that a calibration set is less than was asked for.
std::string CalibrationWarning(const CalibrationSet& set);

}  // namespace quantref
