#pragma once

#include <cstddef>

namespace quantref {

// The multiple of `to` that is n or the next above it. Every file has a copy of its own (static):
// some are compiled for instruction sets that the others must not meet.
static constexpr size_t RoundUp(size_t n, size_t to) { return (n + to - 1) / to * to; }

}  // namespace quantref
