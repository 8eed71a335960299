#pragma once

#include "eval/inputs/group_context.h"
#include "eval/inputs/passes.h"
#include "eval/pass/group_score.h"

namespace quantref {

// Makes the models that a pass measures, and says which row of the measurement each is. Cells of
// studies that cannot be made leave the pass. Of several processes all have the same models then.
// `look`: what is looked at before the cells that take long are made, if anything is; it stands
// where an interrupt ends this, too.
void QuantizeCells(GroupContext& group, Pass& cells, FirstLook& look);

}  // namespace quantref
