#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace quantref {

// Zeros, aligned to 64 bytes; larger arrays in huge pages where the system gives them, because
// streaming 4 KB pages costs a tenth of the bandwidth.
std::shared_ptr<uint8_t> AllocateHuge(size_t bytes);

}  // namespace quantref
