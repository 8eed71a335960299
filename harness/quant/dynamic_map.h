#pragma once

#include "harness/quant/levels.h"

namespace quantref {

// The signed dynamic 8-bit map of bitsandbytes (Dettmers 2016, 8-Bit Approximations for Parallelism
// in Deep Learning; create_dynamic_map()): 256 numbers from -0.9929688 to 1 by rising code, half of
// them within [-0.1, 0.1]. In the middle between two the lower one is the nearest.
const LevelTable& DynamicMap();

}  // namespace quantref
