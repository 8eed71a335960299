#pragma once

#include <string>
#include <vector>

#include "eval/config/run_config.h"
#include "eval/cost/cost.h"
#include "eval/inputs/options.h"
#include "eval/records/record.h"
#include "harness/model/synthetic.h"

namespace quantref {

// Whether it is of a study and all of its quantized cells' records stand already: they are timed
// together or not at all.
bool IsFinished(const RunOptions& options, const RunConfig& config);

// A config whose model has a shape but no weights: its cells are made at random, timed and
// recorded. No text, no accuracy.
class SyntheticRun {
 public:
  // Throws Error where the cells do not fit into memory.
  SyntheticRun(const RunOptions& options, const RunConfig& config, size_t threads, RunEta& eta);

  Cost PrintPlan() const;  // and what it costs
  std::vector<Record> Run();

 private:
  Cost ExpectedCost() const;
  struct Cell {
    const CellConfig* spec;
    std::vector<PlannedLinear> plan;
    SyntheticWeights made{};
  };

  void PlanMemory();
  void MakeWeights();
  std::vector<CellResult> Measure();
  Record MakeRecord(const CellResult& cell, const Environment& environment) const;
  void PrintTable(const std::vector<Record>& records) const;

  const RunOptions& options_;
  const RunConfig& config_;
  const size_t threads_;
  RunEta& eta_;
  const ModelConfig& shape_;
  std::vector<Cell> cells_;  // the quantized ones
  size_t bytes_ = 0;         // of all weights that will be made
  std::string left_out_;     // why there is no reference; "": there is
  SyntheticWeights frame_, reference_;
  double make_seconds_ = 0, throughput_seconds_ = 0;
};

}  // namespace quantref
