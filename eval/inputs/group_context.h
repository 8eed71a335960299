#pragma once

#include <memory>
#include <string>
#include <vector>

#include "eval/config/run_config.h"
#include "eval/inputs/options.h"
#include "eval/inputs/run_inputs.h"
#include "eval/support/run_eta.h"
#include "eval/team/workers.h"
#include "eval/text/dataset.h"
#include "eval/text/protocol.h"
#include "harness/base/error.h"
#include "harness/model/load_model.h"

namespace quantref {

struct ShardWork;

// What all stages of a group's work have in common: who asked for it, and what was loaded for it.
struct GroupContext {
  const RunOptions& options;
  const std::vector<const RunConfig*> configs;  // one or more
  const size_t threads;
  RunEta& eta;  // told what is to come and how far it is
  ShardWork& shards;
  Workers& workers;  // the processes of this run

  Text text{};
  std::shared_ptr<const Model> model{};
  Protocol protocol{};
  TokenStream stream{};
  std::vector<Window> windows{};             // that may be measured
  size_t all_windows = 0;                    // of the text
  double load_seconds = 0;                   // until it was planned
  CalibrationSets calibrations{};            // cells point into it
  size_t failed_cells = 0;                   // of studies, that could not be made
  std::vector<InputFile> candidate_files{};  // of those that were loaded
  size_t failed_exports = 0;                 // cells that were made and could not be written

  // Model, text, protocol and stop rule are those of all.
  const RunConfig& config() const { return *configs.front(); }
  size_t LongestWindow() const;

  // Throws InputChanged where a file that was read does not hold any more what the record would
  // say.
  void CheckInputs() const;

  // For the handler of an error that keeps a cell from being made: says so and counts it where the
  // cell is of a study, whose others need not suffer. Throws the error on where it is the run's.
  void Tolerate(const RunConfig& config, const Error& error, const std::string& label);
};

// Reads what the first config names, and finds its windows.
void LoadInputs(ModelLoader& models, GroupContext& group);

}  // namespace quantref
