#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "eval/accuracy/measure.h"
#include "eval/config/run_config.h"
#include "eval/run/cost.h"
#include "eval/run/group_cell.h"
#include "eval/run/memory_limits.h"
#include "eval/run/passes.h"
#include "eval/run/record.h"
#include "eval/run/run.h"
#include "eval/run/run_inputs.h"
#include "eval/support/run_eta.h"
#include "eval/text/dataset.h"
#include "eval/text/protocol.h"
#include "harness/base/error.h"
#include "harness/model/load_model.h"

namespace quantref {

// Configs that share model, text, protocol and stop rule, from loading to records: their cells are
// measured together, in one pass of the reference; or where memory does not hold so many, in
// several. Of studies (RunConfig::study) cells whose records stand already are left out, and a cell
// that cannot be made is reported on stderr and does not keep the others from being measured.
class GroupRun {
 public:
  GroupRun(const RunOptions& options, std::vector<const RunConfig*> configs, size_t threads,
           ModelLoader& models, RunEta& eta);

  // Loads, and checks all that can be wrong before anything long begins.
  void Prepare();

  Cost PrintPlan();  // and what all of it costs

  // Quantizes, measures, writes the records and prints the tables.
  std::vector<Record> Run();

  // Whether the kernels gave other logits than they may somewhere.
  bool gate_failed() const { return gate_failed_; }
  size_t failed_cells() const { return failed_cells_; }  // of studies, that could not be made

 private:
  void Plan();
  std::vector<GroupCell> PlanConfig(const RunConfig& config);
  std::vector<GroupCell> PlanMethod(const RunConfig& config, const CellConfig& spec);
  SoughtCell Sought(const GroupCell& cell) const;
  std::vector<CellLoad> Loads(const Pass& pass) const;
  double Fp16CopyBytes(const Pass& pass) const;
  Cost CostOf(const Pass& pass);
  std::vector<double> SpeedSeconds(const Pass& pass) const;
  void PlanEta();
  MemoryNeed NeedOf(const Pass& pass) const;
  void Tolerate(const RunConfig& config, const Error& error, const std::string& label);
  std::vector<Record> RunPass();
  std::vector<Record> MeasurePass();
  void CheckInputs() const;
  void QuantizeCells();
  void Quantize(GroupCell& cell) const;
  Measurement MeasureCells() const;
  std::vector<Record> Unrecorded(const std::vector<Record>& all) const;
  void PrintTables(const std::vector<Record>& records) const;
  void MeasureGaps(size_t window);
  void MeasureSpeed();
  void CheckGaps(const std::vector<CellResult>& cells);
  std::string Fingerprint() const;
  size_t LongestWindow() const;
  GroupResult Describe(Measurement measurement) const;
  std::vector<CellResult> Summarize(const GroupResult& group) const;
  void Compare(const GroupResult& group, const GroupCell& cell, CellResult& result) const;

  const RunOptions& options_;
  const std::vector<const RunConfig*> configs_;
  const size_t threads_;
  const RunConfig& config_;  // the first: model, text, protocol and stop rule are those of all
  ModelLoader& models_;
  RunEta& eta_;  // told what is to come and how far it is
  std::optional<Text> text_;
  std::shared_ptr<const Model> model_;
  std::optional<Protocol> protocol_;
  TokenStream stream_;
  std::vector<Window> windows_;
  size_t all_windows_ = 0;
  std::optional<Rates> rates_;    // once they are asked for
  CalibrationSets calibrations_;  // cells point into it
  std::vector<GroupCell> planned_;
  std::vector<Pass> passes_;
  Pass cells_;  // of the pass at work
  double load_seconds_ = 0, throughput_seconds_ = 0;
  bool gate_failed_ = false;
  size_t failed_cells_ = 0;
};

}  // namespace quantref
