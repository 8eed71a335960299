#pragma once

#include "eval/inputs/options.h"
#include "eval/team/workers.h"

namespace quantref {

// Quantizes and measures every cell of every config and writes their records; of a study (a grid of
// configs in one file) those whose records do not stand yet. Configs that share model, text and
// protocol share one pass of the reference, as many of their cells as memory holds. Progress goes
// to stderr; with `shard` they end with a journal of its own, which `merge` reads; else the result
// (a table, or JSON records, or nothing if quiet) to stdout. Returns the exit code: 0;
// kExitGateFailed where the kernels gave something else than the weights they stand for;
// kExitWrongInput where cells of a study could not be measured, after the others were. Of several
// processes each calls it with the same options; those beside the first print and write nothing,
// return 0, and tell the first of their errors, which it throws.
int RunEval(const RunOptions& options, Workers& workers);

}  // namespace quantref
