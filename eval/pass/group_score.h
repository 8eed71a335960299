#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "eval/accuracy/measure.h"
#include "eval/inputs/group_context.h"
#include "eval/inputs/passes.h"
#include "eval/support/interrupt.h"

namespace quantref {

// Readies a quantized cell to be measured as that row of the models.
void PutInRow(size_t row, GroupCell& cell);

// Takes the reference and the quantized cells of a pass through the group's windows. Shows how far
// it is, and what is known so far. The journal stands in the folder of the records.
Measurement ScoreCells(const GroupContext& group, const Pass& cells);

// The part that a process beside the first has in that.
void ScoreForFirst(const GroupContext& group, const Pass& cells);

// Where cells take long to be made: what the run's first kFirstLook windows say of the reference
// and of those that need not wait for them. All that is made of the scores is what an interrupt
// leaves: the others are compared with the reference's logits window by window, and all of these
// are too many to be held.
struct FirstLook {
  Pass cells{};                      // as they are measured: with their rows
  Measurement measurement{};         // interrupted, without a journal
  bool taken = false;                // all of its windows are measured
  std::optional<MoreGrace> grace{};  // from then on there is something to put away
};
// Whether there is one: somebody reads it, and it costs little beside the pass.
bool HasFirstLook(const GroupContext& group, const Pass& cells);
// The cells of a pass that it would be of, once they are made.
Pass LookedAt(const Pass& cells);
// Takes its cells through the windows.
void TakeFirstLook(const GroupContext& group, FirstLook& look);
void ShowFirstLook(const GroupContext& group, const FirstLook& look);

// Of each cell that goes through the kernels, on that window.
void MeasureGaps(const GroupContext& group, size_t window, Pass& cells);

}  // namespace quantref
