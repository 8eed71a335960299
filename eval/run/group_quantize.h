#pragma once

#include "eval/run/group_context.h"
#include "eval/run/passes.h"
#include "harness/method/quantize_model.h"

namespace quantref {

QuantizeTask TaskOf(const GroupCell& cell);

// Makes the models that a pass measures, and says which row of the measurement each is. Cells of
// studies that cannot be made leave the pass. Of several processes all have the same models then.
void QuantizeCells(GroupContext& group, Pass& cells);

}  // namespace quantref
