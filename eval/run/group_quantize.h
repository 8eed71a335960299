#pragma once

#include "eval/run/group_context.h"
#include "eval/run/passes.h"

namespace quantref {

// Makes the models that a pass measures, and says which row of the measurement each is. Cells of
// studies that cannot be made leave the pass. Of several processes all have the same models then.
void QuantizeCells(GroupContext& group, Pass& cells);

}  // namespace quantref
