#pragma once

#include <vector>

#include "eval/run/group_cell.h"
#include "eval/run/group_context.h"
#include "eval/run/passes.h"

namespace quantref {

// Which cells a group has, and in which passes they are measured.
struct GroupPlan {
  std::vector<GroupCell> cells;  // those that are finished too
  std::vector<Pass> passes;
};

// Checks all that can be wrong before anything long begins. Draws the cells' calibration samples.
GroupPlan PlanGroup(GroupContext& group);

}  // namespace quantref
