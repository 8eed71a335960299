#pragma once

#include <cstddef>

namespace quantref {

// Of JSON documents that are read.
inline constexpr size_t kMaxJsonFileBytes = size_t{64} << 20;
inline constexpr size_t kMaxJsonDepth = 64;

}  // namespace quantref
