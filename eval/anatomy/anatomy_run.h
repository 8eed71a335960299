#pragma once

#include <vector>

#include "eval/config/run_config.h"
#include "eval/inputs/options.h"

namespace quantref {

// run_eval --weights: the anatomy of each model that the configs name, once, and the rounding
// errors of all of its cells that round to nearest. Needs no text. Prints tables (or JSON, or
// nothing if quiet) and writes them into the folder of the records, as JSON and CSV; with dry_run
// prints what that will take. Throws Error where a model is random or does not fit into memory.
void RunAnatomy(const RunOptions& options, const std::vector<RunConfig>& configs, size_t threads);

}  // namespace quantref
