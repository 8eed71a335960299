#pragma once

#include <cstddef>
#include <functional>

#include "eval/inputs/group_cell.h"
#include "eval/inputs/group_context.h"
#include "harness/train/trainer.h"

namespace quantref {

// How a cell that is trained is: as its config says, on windows as long as its text has them.
TrainSpec TrainingOf(const GroupCell& cell);

// Whether the cell's training begins with what its method makes of the weights, and neither with
// the reference's own nor with a checkpoint; adapters are trained beside it in any case.
bool BeginsQuantized(const GroupCell& cell);

// Throws Error where the cell asks for what cannot be trained.
void CheckTrains(const GroupContext& group, const GroupCell& cell);

// Trains the cell's weights, which are those that its method made where it BeginsQuantized, on its
// training text, and rounds them to nearest in the end, or by the scales that were learned; or its
// adapters, which are kept or merged as its config says. Shows how far it is, and the loss. Keeps
// checkpoints as the config says, and tells of each.
void TrainCell(const GroupContext& group, GroupCell& cell,
               const std::function<void(size_t step)>& kept);

}  // namespace quantref
