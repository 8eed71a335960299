#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "eval/run_eta.h"
#include "eval/throughput.h"
#include "harness/model/config.h"
#include "harness/model/weights.h"

namespace quantref {

// A cell's speed: its place in what was measured together.
struct CellSpeed {
  std::shared_ptr<const Throughput> run;
  size_t model = 0;
  bool has_reference = true;  // model 0 of the run is the FP16 reference

  const CellThroughput& own() const { return run->cells[model]; }
  const CellThroughput* reference() const { return has_reference ? &run->cells[0] : nullptr; }
};

// Something to be timed under the spec of its config.
struct SpeedCell {
  std::string label;
  const ModelWeights* weights;  // nullptr: the reference
  const ThroughputSpec* spec;
};

// Measures the cells of each spec together, beside the reference (nullptr: without one). Nothing
// for cells that are not to be measured. Throws Interrupted where the user asks for it.
std::vector<std::optional<CellSpeed>> MeasureSpeeds(const LlamaConfig& config,
                                                    const ModelWeights* reference,
                                                    std::span<const SpeedCell> cells, bool quiet,
                                                    RunEta& eta);

// Tokens a second, sample by sample.
Samples TokenRates(const ModelTiming& timing);

// The timing of the same tokens on as many threads, or nullptr.
const ModelTiming* SameTiming(const std::vector<ModelTiming>& timings, const ModelTiming& like);

// Whether figures on so many threads may be those of something else's load: several threads
// without a core each, or cores that came or went while the run measured.
bool Busy(const FreeCores& cores, size_t threads);
bool Busy(const CellSpeed& speed);  // of any of its figures

}  // namespace quantref
