#pragma once

#include <cstddef>
#include <span>

#include "harness/io/ggml_type.h"

namespace quantref {

// Scales of a GGUF tensor's blocks that are worth a look. One of 0 makes its whole block 0.
struct GgmlScales {
  size_t zero = 0;
  size_t negative = 0;  // of types whose quantizers make none: it turns all of a block's signs
};

// Of whole blocks of a type that DecodesGgml; nothing of types whose scales are powers of two.
GgmlScales CountScales(GgmlType type, std::span<const std::byte> blocks);

}  // namespace quantref
