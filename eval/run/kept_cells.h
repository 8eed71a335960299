#pragma once

#include <string>
#include <vector>

#include "eval/inputs/group_cell.h"
#include "eval/inputs/group_context.h"
#include "eval/inputs/passes.h"

namespace quantref {

// Quantized cells outlive a run that is interrupted or killed: each stands in the folder of the
// records, in .cell-<key>.tmp, from when it is final until the records are written. The key is of
// all that its weights depend on: program, checkpoint, config but for other cells' methods,
// calibration tokens, ISA; and of the config's name, since several of a run may have the same cell.
// A file is its run's alone, by a lock, for as long as the run is alive.

// Gives keys, SHA-256 of all that, to the cells that are kept: those that are quantized on a
// calibration text, or trained.
void NameKept(const GroupContext& group, std::vector<GroupCell>& cells);

// Puts what an earlier run kept of the cell into it, where this run is to go on with one; or what
// another shard did. False where there is nothing, or, which is said, where it is damaged. Throws
// Error where another run is at work with the cell in the folder of the records.
bool TakeKept(const GroupContext& group, GroupCell& cell);

// Keeps one. A disk that is full, or another run that has it, ends nothing: returns false, and says
// so.
bool KeepCell(const GroupContext& group, GroupCell& cell);

// Of cells whose records stand: those of this pass, and those that a run left behind which was
// killed between records and this; but not where a journal is there, whose run may ask for them.
// RemoveKept takes the pass's checkpoints of training with it.
void RemoveKept(const GroupContext& group, const Pass& cells) noexcept;
void RemoveLeftBehind(const GroupContext& group, const std::vector<GroupCell>& cells) noexcept;

// What other runs have left behind in the folder and nobody may ever resume; "" where that is
// nothing.
std::string LeftBehindText(const GroupContext& group, const std::vector<GroupCell>& cells);

}  // namespace quantref
