#pragma once

#include <cstddef>
#include <string>

#include "eval/run/group_cell.h"
#include "eval/run/group_context.h"
#include "eval/run/passes.h"

namespace quantref {

// Quantized cells outlive a run that is interrupted or killed: each stands in the folder of the
// records, in .cell-<key>.tmp, from when it is final until the records are written. The key is of
// all that its weights depend on: program, checkpoint, config but for other cells' methods,
// calibration tokens, ISA.

// Puts what an earlier run kept of the cell into it, where this run is to go on with one. False
// where there is nothing, or, which is said, where it is damaged.
bool TakeKept(const GroupContext& group, GroupCell& cell);

// Keeps one that was quantized on a calibration text, or trained. A disk that is full ends nothing:
// returns false, and says so.
bool KeepCell(const GroupContext& group, GroupCell& cell);

// SHA-256 of all that.
std::string KeyOfCell(const GroupContext& group, const GroupCell& cell);

void RemoveKept(const Pass& cells) noexcept;

// What other runs have left behind in the folder and nobody may ever resume; "" where that is
// nothing.
std::string LeftBehindText(const GroupContext& group, const std::vector<GroupCell>& cells);

}  // namespace quantref
