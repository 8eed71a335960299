#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "eval/inputs/group_cell.h"
#include "eval/inputs/group_context.h"
#include "eval/inputs/passes.h"
#include "eval/record/reader.h"

namespace quantref {

// Of rule `sensitivity`: what a cell's budget is spent by is measured once for all cells that ask
// for the same, before anything is quantized, whatever their methods do: each matrix of the model
// as it was loaded is rounded to nearest, alone.

// Draws the windows of the calibration text and gives the cell a plan: the one that it will have,
// or of rule `sensitivity` a stand-in of the same size. Throws Error where the budget cannot be
// had, or its text holds too much of the test text.
void PlanBudget(const RunConfig& config, const TestText& test, GroupContext& group,
                GroupCell& cell);

// A measurement that cells of the passes wait for.
struct SensitivityTask {
  const CellConfig* spec;  // of the first that does
  const CalibrationSet* set;
  std::vector<PlannedLinear> plan;  // of the model as it was loaded; bits apart
  Facts asked;                      // what it depends on beside the model
};
std::vector<SensitivityTask> SensitivityTasks(const GroupContext& group,
                                              std::span<const Pass> passes);

// Gives the passes' cells the plans that they will have, and says them. Measures what has not been
// measured: by an earlier run with which this one goes on, or by another shard, which left it in
// .budget-<key>.tmp beside the records. Cells of studies that cannot be made leave their pass.
void SpendBudgets(GroupContext& group, std::vector<Pass>& passes);

// Removes what is kept of the pass's cells, once their records stand, but for what cells of another
// of the passes still wait for.
void RemoveKeptBudgets(const GroupContext& group, const Pass& cells,
                       std::span<const Pass> passes) noexcept;

// What the file of a measurement that is kept begins with.
inline constexpr std::string_view kBudgetStart = ".budget-";

// The name of the cell's file; "" where it waits for none.
std::string BudgetFileOf(const GroupContext& group, const GroupCell& cell);

}  // namespace quantref
