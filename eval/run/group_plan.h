#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "eval/inputs/group_cell.h"
#include "eval/inputs/group_context.h"
#include "eval/inputs/passes.h"

namespace quantref {

// What is planned of a model by a cell; the config is as the cell's method leaves it. Of a budget
// that is yet to be spent a stand-in (budget.h).
std::vector<PlannedLinear> PlanOfCell(const CellConfig& cell, const ModelConfig& config);

// A cell's label where there are several seeds.
std::string LabelOfSeed(const std::string& label, size_t seed);

// Checks all that can be wrong before anything long begins. Draws the cells' calibration samples.
// Of several processes the first alone says what is finished, and which passes there are
// (SharePlan).
GroupPlan PlanGroup(GroupContext& group);

}  // namespace quantref
