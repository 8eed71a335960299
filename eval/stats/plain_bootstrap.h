#pragma once

#include <cstdint>
#include <span>

#include "eval/stats/stats.h"

namespace quantref {

// MeanInterval as its definition reads, in plain loops: what that one is held to, and the one to
// read. At least kBootstrapBlocks blocks that are not all alike. Slow.
Interval PlainMeanInterval(std::span<const BlockSum> blocks, uint64_t seed = 0);

}  // namespace quantref
