#pragma once

#include "harness/export/export_format.h"

// The rows of the registry, each in its format's file.

namespace quantref {

extern const ExportFormat kPackQuantized, kIntQuantized;   // compressed_tensors.cpp
extern const ExportFormat kGptqV2;                         // gptq_v2.cpp
extern const ExportFormat kAwqGemm;                        // awq_gemm.cpp
extern const ExportFormat kGgufBlocks;                     // gguf_blocks.cpp
extern const ExportFormat kDequantized, kDequantizedFp32;  // dequantized.cpp

}  // namespace quantref
