#pragma once

#include <cstddef>

namespace quantref {

// What OpenBLAS takes of a process's address space, most of which it never touches: once, and for
// each call that runs at the same time, kept for later calls.
inline constexpr size_t kBlasLibraryBytes = size_t{40} << 20;
inline constexpr size_t kBlasBufferBytes = size_t{128} << 20;

}  // namespace quantref
