#pragma once

#include <vector>

#include "eval/accuracy/measure.h"
#include "eval/inputs/group_context.h"
#include "eval/inputs/passes.h"
#include "eval/records/record.h"

namespace quantref {

// What all cells have in common; of a plan, which has measured nothing, too. The group must outlive
// it.
GroupResult Describe(const GroupContext& group, Measurement measurement);

// Of each cell that this run records what its windows say, in their order.
std::vector<CellResult> Summarize(const GroupContext& group, const GroupResult& shared,
                                  const Pass& cells);

}  // namespace quantref
