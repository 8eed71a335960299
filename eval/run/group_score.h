#pragma once

#include <cstddef>
#include <span>

#include "eval/accuracy/measure.h"
#include "eval/run/group_context.h"
#include "eval/run/passes.h"

namespace quantref {

// Takes the reference and the quantized cells of a pass through the group's windows. Shows how far
// it is, and what is known so far. The journal stands in the folder of the records.
Measurement ScoreCells(const GroupContext& group, const Pass& cells);

// The part that a process beside the first has in that.
void ScoreForFirst(const GroupContext& group, const Pass& cells);

// Where cells take long to be made: shows what the run's first kFirstLook windows say of the
// reference and of those that are made already. The scores are not kept: others are compared with
// the reference's logits window by window, and all of these are too many to be held.
void ShowFirstLook(const GroupContext& group, std::span<const GroupCell* const> made);
// Whether there is one: somebody reads it, and it costs little beside the pass.
bool HasFirstLook(const GroupContext& group, const Pass& cells);

// Of each cell that goes through the kernels, on that window.
void MeasureGaps(const GroupContext& group, size_t window, Pass& cells);

}  // namespace quantref
