#pragma once

#include <string>
#include <vector>

#include "eval/config/run_config.h"
#include "eval/inputs/group_context.h"
#include "eval/inputs/options.h"
#include "eval/inputs/passes.h"

namespace quantref {

// Quantized cells as checkpoints for other tools (harness/export), where a run is asked for them
// (RunOptions::export_folder): each is a folder there, CONFIG-CELL. Candidates are one already.

// Before anything is loaded: makes the folder, unless it is a dry run, and throws Error where the
// format cannot hold a wanted cell, or where something of a cell's name is there and the run is not
// one that goes on.
void CheckExports(const RunOptions& options, const std::vector<RunConfig>& configs);

// Writes those of the pass. One that an interrupted run has written stays as it is. What only its
// codes show that a format cannot hold, and files that cannot be written, are said and counted.
void ExportCells(GroupContext& group, const Pass& cells);

// What is said of cells that are finished, and so are not made and not written; "" of none.
std::string UnexportedText(const GroupContext& group, const std::vector<GroupCell>& cells);

}  // namespace quantref
