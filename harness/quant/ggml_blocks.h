#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "harness/io/ggml_type.h"

namespace quantref {

// The values of the blocks that GGUF files are made of, bit for bit what ggml's reference
// (dequantize_row_*, ggml-quants.c) and Python's gguf.quants compute: FP32 products in their order.

// F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K to Q6_K, IQ4_NL, IQ4_XS, MXFP4, NVFP4, TQ1_0
// and TQ2_0.
bool DecodesGgml(GgmlType type);
std::string DecodedGgmlTypes();  // their names, for messages

// values = those of the blocks, of a type that DecodesGgml. values.size() is a multiple of the
// type's elements, and blocks holds as many of them.
void DecodeGgml(GgmlType type, std::span<const std::byte> blocks, std::span<float> values);

}  // namespace quantref
