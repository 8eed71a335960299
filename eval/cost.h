#pragma once

#include <span>

#include "eval/protocol.h"
#include "harness/model/llama.h"

namespace quantref {

// What a run will cost, before it is run.
struct Cost {
  double seconds = 0;        // from FLOPs and the rate of matrix products measured now
  double gflops_a_core = 0;  // that rate
  double memory_bytes = 0;   // peak resident: mapped weights, packed copies, the threads' buffers
};

// `models`: the reference and all quantized cells together.
Cost EstimateCost(const Model& model, std::span<const Window> windows, size_t longest_window,
                  size_t models, size_t threads);

// The rate of one core's FP32 products at (rows, size) x (size, size), the median of a few, in
// GFLOP/s.
double MeasureGemmRate(size_t rows, size_t size);

}  // namespace quantref
