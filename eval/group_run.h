#pragma once

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "eval/calibration.h"
#include "eval/dataset.h"
#include "eval/kernel_path.h"
#include "eval/measure.h"
#include "eval/protocol.h"
#include "eval/record.h"
#include "eval/report.h"
#include "eval/run.h"
#include "eval/run_config.h"
#include "eval/speed.h"
#include "harness/model/llama.h"
#include "harness/quantize_model.h"

namespace quantref {

// Configs that share model, text, protocol and stop rule, from loading to records: their cells are
// measured together, in one pass of the reference.
class GroupRun {
 public:
  GroupRun(const RunOptions& options, std::vector<const RunConfig*> configs, size_t threads);

  // Loads, and checks all that can be wrong before anything long begins.
  void Prepare();

  void PrintPlan() const;

  // Quantizes, measures, writes the records and prints the table.
  std::vector<Record> Run();

  // Whether the kernels gave other logits than they may somewhere.
  bool gate_failed() const { return gate_failed_; }

 private:
  // A method of a config, with one seed's calibration. The reference's cells have no method and
  // share the first model.
  struct Cell {
    const RunConfig* config;
    const CellConfig* spec = nullptr;  // nullptr: the reference
    std::string label = "fp16";        // with the seed, where there are several
    Method method{};
    std::vector<PlannedLinear> plan{};
    const CalibrationSet* calibration = nullptr;  // of the method, or for the layer report alone
    size_t model = 0;                             // its row in the measurement
    QuantizedModel quantized{};
    double quantize_seconds = 0;
    KernelPath path{};  // of the quantized weights, where the config asks for it
    std::optional<PathGap> gap{};
    std::optional<CellSpeed> speed{};

    const ModelWeights& Measured() const {
      return path.linears > 0 ? path.weights : quantized.weights;
    }
  };

  bool Wanted(const Cell& cell) const;
  void PlanCells(const RunConfig& config);
  void AddCells(const RunConfig& config, const CellConfig& spec);
  const CalibrationSet& Calibrate(const RunConfig& config, size_t seed);
  void Quantize(Cell& cell) const;
  void PutOnKernels(Cell& cell) const;
  Measurement MeasureCells() const;
  void MeasureGaps(size_t window);
  void MeasureSpeed();
  void CheckGaps(const std::vector<CellResult>& cells);
  std::string Fingerprint() const;
  size_t LongestWindow() const;
  GroupResult Describe(Measurement measurement) const;
  std::vector<CellResult> Summarize(const GroupResult& group) const;
  void Compare(const GroupResult& group, const Cell& cell, CellResult& result) const;

  const RunOptions& options_;
  const std::vector<const RunConfig*> configs_;
  const size_t threads_;
  const RunConfig& config_;  // the first: model, text, protocol and stop rule are those of all
  std::optional<Text> text_;
  std::optional<Model> model_;
  const Protocol* protocol_ = nullptr;
  TokenStream stream_;
  std::vector<Window> windows_;
  size_t all_windows_ = 0;
  struct Drawn {
    RunConfig::Calibration asked;
    size_t seed;
    CalibrationSet set;
  };
  std::deque<Drawn> calibrations_;  // each once; cells point into it
  std::vector<Cell> cells_;
  double load_seconds_ = 0, throughput_seconds_ = 0;
  bool gate_failed_ = false;
};

}  // namespace quantref
