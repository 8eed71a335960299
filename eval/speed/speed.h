#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "eval/speed/throughput.h"
#include "eval/support/run_eta.h"
#include "harness/model/config.h"
#include "harness/model/weights.h"

namespace quantref {

// A cell's speed: its place in what was measured together.
struct CellSpeed {
  std::shared_ptr<const Throughput> run;
  size_t model = 0;
  // The model of the run with FP16 weights: the reference, which is 0, or a model of its shapes.
  std::optional<size_t> fp16 = 0;

  const CellThroughput& own() const { return run->cells[model]; }
  // What speeds are ratios to; nullptr for itself, and where there is none.
  const CellThroughput* fp16_weights() const {
    return fp16 && *fp16 != model ? &run->cells[*fp16] : nullptr;
  }
  bool fp16_is_copy() const { return fp16.value_or(0) != 0; }
};

// Something to be timed under the spec of its config.
struct SpeedCell {
  std::string label;
  const ModelWeights* weights;  // nullptr: the reference
  const ThroughputSpec* spec;
  const ModelConfig* shape = nullptr;  // nullptr: the reference's
};

// Measures the cells of each spec together, beside the reference (nullptr: without one) and, where
// that is not all FP16, a model of its shapes that is, with random weights. Nothing for cells that
// are not to be measured. Throws Interrupted where the user asks for it.
std::vector<std::optional<CellSpeed>> MeasureSpeeds(const ModelConfig& config,
                                                    const ModelWeights* reference,
                                                    std::span<const SpeedCell> cells,
                                                    size_t threads, bool quiet, RunEta& eta);

// Tokens a second, sample by sample.
Samples TokenRates(const ModelTiming& timing);

// The timing of the same tokens on as many threads, or nullptr.
const ModelTiming* SameTiming(const std::vector<ModelTiming>& timings, const ModelTiming& like);

bool Busy(const CellSpeed& speed);  // record/free_cores.h, of any of its figures

}  // namespace quantref
