#pragma once

#include <cstddef>

#include "eval/accuracy/measure.h"
#include "eval/run/group_context.h"
#include "eval/run/passes.h"

namespace quantref {

// Takes the reference and the quantized cells of a pass through the group's windows. Shows how far
// it is, and what is known so far. The journal stands in the folder of the records.
Measurement ScoreCells(const GroupContext& group, const Pass& cells);

// Of each cell that goes through the kernels, on that window.
void MeasureGaps(const GroupContext& group, size_t window, Pass& cells);

}  // namespace quantref
