#pragma once

#include "eval/inputs/group_cell.h"
#include "harness/method/quantize_model.h"

namespace quantref {

// What is to be done to make the cell's model. The cell must outlive it.
QuantizeTask TaskOf(const GroupCell& cell);

}  // namespace quantref
