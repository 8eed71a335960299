#pragma once

#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "eval/accuracy/position.h"
#include "eval/cost/cell_load.h"
#include "eval/cost/rates.h"
#include "eval/speed/timing.h"
#include "eval/text/protocol.h"
#include "harness/model/load_model.h"
#include "harness/quant/plan.h"

namespace quantref {

// What a run will cost, before it is run.
struct Cost {
  // What it waits for, in seconds. A cell's are those of its model alone, less what was quantized
  // together with cells before it.
  struct Cell {
    double quantize = 0, measure = 0;
    double train = 0;        // of quantize
    double kept_logits = 0;  // of measure
  };
  double load_seconds = 0;         // of model, texts and samples: as long as it took just now
  double seconds = 0;              // to measure windows, and the gate between the paths
  double sensitivity_seconds = 0;  // that budgets are spent by
  double quantize_seconds = 0;     // passes over the calibration text, searches and rounding
  double train_seconds = 0;        // of that, steps of training
  double throughput_seconds = 0;   // of kernels and models, roughly
  double memory_bytes = 0;    // peak resident: the program, mapped weights and those made of them,
                              // packed copies, the threads' buffers, hidden states of the
                              // calibration text and what is collected of them; or what speed
                              // is measured with
  double record_bytes = 0;    // on disk, roughly
  double journal_bytes = 0;   // on disk until the records are written
  std::vector<Cell> cells{};  // the reference, then the quantized ones

  // Of this and then another: times and records add up, of what is gone again the larger counts.
  void Add(const Cost& next);
  double WorkSeconds() const {
    return seconds + sensitivity_seconds + quantize_seconds + throughput_seconds;
  }
  double TotalSeconds() const { return load_seconds + WorkSeconds(); }
};

// Of the matrices that the plan quantizes: their codes, in the kernels' layout where they go
// through these.
double PlannedBytes(const ModelConfig& config, const std::vector<PlannedLinear>& plan,
                    bool kernels);

// Whether cells read the same inputs as far as their blocks are the same.
bool ReadAlike(const CellLoad& a, const CellLoad& b);

// Of the loaded model, what a pass finds in place.
double LoadedBytes(const ModelWeights& weights);

// Cost::memory_bytes of the reference and these cells, measured together, without the program and
// what is loaded. `compare`: KL and top-1, too.
double EstimateMemory(const Model& model, size_t windows, size_t longest_window,
                      std::span<const CellLoad> cells, bool compare, size_t threads);

// `cells`: the quantized ones. Without loading and throughput.
Cost EstimateCost(const Model& model, std::span<const Window> windows,
                  std::span<const CellLoad> cells, const Metrics& metrics, size_t threads,
                  Rates& rates);

// What tells the kernels of a plan's matrices apart, beside FP16's.
void AddFormats(const std::vector<PlannedLinear>& plan,
                const std::optional<ActivationScheme>& activations, std::set<std::string>& formats);

// What a model has beside its weights while it is timed: its cache, a prefill and its logits.
size_t DecoderBytes(const ModelConfig& config, const ThroughputSpec& spec,
                    const std::optional<KvScheme>& kv_cache = std::nullopt);

// Of `models` models timed together, with so many of these formats, and types of plain numbers
// (dense) beside FP16: throughput_seconds, and memory_bytes beside the models and their decoders.
// FP32 rates for all, so that faster kernels make it less.
Cost EstimateSpeedCost(const ModelConfig& config, const ThroughputSpec& spec, size_t models,
                       size_t formats, size_t dense = 0);

// The rate of one core's FP32 products at (rows, size) x (size, size), the median of a few, in
// GFLOP/s.
double MeasureGemmRate(size_t rows, size_t size);

}  // namespace quantref
