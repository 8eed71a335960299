#pragma once

#include <span>

#include "eval/protocol.h"
#include "eval/throughput.h"
#include "harness/calibrate.h"
#include "harness/model/llama.h"

namespace quantref {

// What a run will cost, before it is run.
struct Cost {
  double seconds = 0;             // to measure, from FLOPs and the rate of matrix products now
  double quantize_seconds = 0;    // passes over the calibration text; searches come on top
  double gflops_a_core = 0;       // that rate
  double throughput_seconds = 0;  // of kernels and models, roughly
  double memory_bytes = 0;  // peak resident: mapped weights, packed copies, the threads' buffers,
                            // hidden states of the calibration text
};

// What a quantized cell reads before it is measured; nothing for one that does not calibrate.
struct CalibrationLoad {
  size_t samples = 0, length = 0;
  DataNeeds needs{};
  bool sequential = true;
};

// `cells`: the quantized ones.
Cost EstimateCost(const Model& model, std::span<const Window> windows, size_t longest_window,
                  std::span<const CalibrationLoad> cells, size_t threads);

// Of `models` models timed together: the rate and throughput_seconds. FP32 rates for all, so that
// faster kernels make it less.
Cost EstimateSpeedCost(const LlamaConfig& config, const ThroughputSpec& spec, size_t models);

// The rate of one core's FP32 products at (rows, size) x (size, size), the median of a few, in
// GFLOP/s.
double MeasureGemmRate(size_t rows, size_t size);

}  // namespace quantref
