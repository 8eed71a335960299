#pragma once

#include <string>
#include <vector>

#include "eval/accuracy/summary.h"
#include "eval/inputs/group_context.h"
#include "eval/inputs/passes.h"
#include "harness/model/transformer.h"

namespace quantref {

// The first half of a ledger: nested runs between the reference and a cell, each with one thing
// more that is rounded, through the same windows. What each adds to the one before it are parts
// whose sum is the whole.

// Of a quantized cell, in their order, those that it has: "weights" (decoded, FP32 activations,
// FP32 products), "activations" (rounded, too), "kv_cache" (rounded, too), "kernels" (the integer
// kernels instead of decoded weights). Behind the last step stands the cell itself.
std::vector<std::string> LedgerSteps(const GroupContext& group, const GroupCell& cell);

// Behind the rows of the reference and the cells stand in a measurement those of the runs between,
// cell by cell, where the run is asked for ledgers: all steps but each cell's last.
struct LedgerRun {
  const GroupCell* cell;
  std::string step;
};
std::vector<LedgerRun> RunsBetween(const GroupContext& group, const Pass& cells);
ModelWeights WeightsOf(const LedgerRun& run);

// A step and the windows of the run that it ends in.
struct LedgerStep {
  std::string name;
  MeasuredWindows measured;
};
std::vector<LedgerStep> StepsOf(const GroupContext& group, const ScoreTable& scores,
                                const Pass& cells, const GroupCell& cell);

}  // namespace quantref
