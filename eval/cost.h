#pragma once

#include <span>
#include <vector>

#include "eval/protocol.h"
#include "eval/throughput.h"
#include "harness/calibrate.h"
#include "harness/model/llama.h"
#include "harness/quant/plan.h"

namespace quantref {

// What a run will cost, before it is run.
struct Cost {
  double seconds = 0;             // to measure, from FLOPs and the rate of matrix products now
  double quantize_seconds = 0;    // passes over the calibration text; searches come on top
  double gflops_a_core = 0;       // that rate
  double throughput_seconds = 0;  // of kernels and models, roughly
  double memory_bytes = 0;   // peak resident: mapped weights, packed copies, the threads' buffers,
                             // hidden states of the calibration text
  double record_bytes = 0;   // on disk, roughly
  double journal_bytes = 0;  // on disk until the records are written

  // Each quantized cell's part of quantize_seconds, and any model's of seconds.
  std::vector<double> cell_quantize_seconds{};
  double model_seconds = 0;

  // Of this and then another: times and records add up, of what is gone again the larger counts.
  void Add(const Cost& next);
  double TotalSeconds() const { return seconds + quantize_seconds + throughput_seconds; }
};

// What a quantized cell reads before it is measured (nothing where it does not calibrate), and
// holds from then on.
struct CellLoad {
  size_t samples = 0, length = 0;
  DataNeeds needs{};
  bool sequential = true;
  double weight_bytes = 0;
};

// Of the matrices that the plan quantizes: their codes and, on the kernels' path, these in the
// kernels' layout too.
double PlannedBytes(const LlamaConfig& config, const std::vector<PlannedLinear>& plan,
                    bool kernels);

// Cost::memory_bytes of the reference and these cells, measured together.
double EstimateMemory(const Model& model, size_t windows, size_t longest_window,
                      std::span<const CellLoad> cells, size_t threads);

// `cells`: the quantized ones. Without throughput. `compare`: KL and top-1, too.
Cost EstimateCost(const Model& model, std::span<const Window> windows, size_t longest_window,
                  std::span<const CellLoad> cells, bool compare, size_t threads);

// Of `models` models timed together: the rate and throughput_seconds. FP32 rates for all, so that
// faster kernels make it less.
Cost EstimateSpeedCost(const LlamaConfig& config, const ThroughputSpec& spec, size_t models);

// The rate of one core's FP32 products at (rows, size) x (size, size), the median of a few, in
// GFLOP/s.
double MeasureGemmRate(size_t rows, size_t size);

}  // namespace quantref
