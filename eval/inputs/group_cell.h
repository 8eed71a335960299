#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "eval/accuracy/kernel_path.h"
#include "eval/config/run_config.h"
#include "eval/speed/speed.h"
#include "eval/text/calibration.h"
#include "harness/io/file_lock.h"
#include "harness/method/quantize_model.h"

namespace quantref {

struct BudgetPlan;  // budget.h
struct Candidate;   // candidate.h

// A method of a config, with one seed's calibration, on its way from plan to figures. The
// reference's cells have no method and share the first model.
struct GroupCell {
  const RunConfig* config;
  const CellConfig* spec = nullptr;  // nullptr: the reference
  std::string label;      // with the seed, where there are several; the reference's: ReferenceName
  bool sought = false;    // whether its record stands already was looked up
  std::string why{};      // it does not; empty where it does
  bool finished = false;  // and so need not be measured
  Method method{};
  ModelConfig shape{};  // the model's config as the method leaves it; of the reference as it is
  std::vector<PlannedLinear> plan{};
  const CalibrationSet* calibration = nullptr;  // of the method, or for the layer report alone
  bool calibrates = false;                      // the method does
  // Of a cell with a budget: what it was spent on, and the windows by which that is found; of rule
  // `sensitivity` `plan` is a stand-in until then, and there is no budget plan.
  std::shared_ptr<const BudgetPlan> budget{};
  const CalibrationSet* budget_text = nullptr;
  const CalibrationSet* training = nullptr;      // what it is trained on; nullptr: it is not
  bool goes_on = false;                          // with its training, from a checkpoint
  size_t model = 0;                              // its row in the measurement
  std::shared_ptr<const Candidate> candidate{};  // that it is; nullptr: a method makes it
  QuantizedModel quantized{};
  std::string weights_sha256{};            // HashQuantized
  std::string kept_key{};                  // of kept_cells.h; "": it is never kept
  std::shared_ptr<const FileLock> kept{};  // of the file that it is kept in, where there is one
  size_t quantize_threads = 0;             // of the earlier run that quantized it; 0: this one did
  KernelPath path{};  // of the quantized weights, where the config asks for the kernels
  std::optional<PathGap> gap{};
  std::optional<CellSpeed> speed{};

  // Its record stands, although it is measured again to go on with a run that was interrupted.
  bool Stands() const { return sought && why.empty() && config->study.empty(); }
  bool Recorded() const { return !finished; }  // by this run
  // Minutes of calibration or of training stand before its figures.
  bool TakesLong() const { return calibrates || training != nullptr; }
};

}  // namespace quantref
