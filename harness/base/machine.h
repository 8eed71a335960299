#pragma once

#include <cstddef>
#include <string>

namespace quantref {

// What this process may use of the machine that it runs on.

size_t CoreCount();     // cores of its affinity mask
size_t MemoryBytes();   // of the machine
size_t PeakRssBytes();  // of this process so far
std::string HostName();

}  // namespace quantref
