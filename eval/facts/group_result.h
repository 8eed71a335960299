#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "eval/accuracy/kernel_path.h"
#include "eval/accuracy/measure.h"
#include "eval/accuracy/summary.h"
#include "eval/config/run_config.h"
#include "eval/cost/environment.h"
#include "eval/facts/kv_cache_facts.h"
#include "eval/facts/lora_facts.h"
#include "eval/speed/speed.h"
#include "eval/text/calibration.h"
#include "eval/text/dataset.h"
#include "eval/text/protocol.h"
#include "harness/method/quantize_model.h"
#include "harness/model/load_model.h"

namespace quantref {

// What was measured of a group of configs, before it is a record.

struct BlockLedger;  // block_ledger.h
struct BudgetPlan;   // budget.h
struct Candidate;    // candidate.h
struct CellLedger;   // block_ledger.h

// What all cells of a group share: they read the same windows of the same text with quantized
// copies of one model.
struct GroupResult {
  const Model* model;
  std::optional<OutlierSpec> outliers;  // that the model was given
  const Text* text;
  const Protocol* protocol;
  const TokenStream* stream;
  std::vector<Window> windows;
  size_t all_windows;  // of the text; more than windows.size() where --windows cut them
  Measurement measurement;
  Environment environment;
  double load_seconds;
  double throughput_seconds = 0;  // of all cells together
  // By CellResult::model, where the run was asked for them.
  std::map<size_t, std::shared_ptr<const BlockLedger>> ledgers{};
};

// The windows that were measured; all of them where none is yet.
std::vector<size_t> MeasuredIndices(const GroupResult& group);

// The mean NLL of a cell minus that of another of the same run.
struct Against {
  std::string config, method;
  Interval delta_nll;
};

// The same cell quantized on other calibration samples.
struct OtherSeed {
  size_t seed;
  double mean_nll;
};

// What a method's model transforms have put into a model.
struct RotationFacts {
  bool head_untied = false;
  size_t attention_order = 0, mlp_order = 0;  // of the Hadamard matrices in the forward; 0: none
  double flops = 0, share = 0;  // of a token, and of all that its forward takes without attention
};

// One measured cell.
struct CellResult {
  const RunConfig* config;
  const CellConfig* spec;  // nullptr: the reference, for which what follows `model` is empty
  std::string label;       // as tables print it: with the seed, where there are several; of the
                           // reference ReferenceName
  size_t model;            // its row in the measurement's scores
  std::vector<LayerReport> layers{};
  // By the names of `layers`; empty where activations are not rounded beside outliers.
  std::map<std::string, OutlierShare> outliers{};
  std::string packed_sha256{};
  std::shared_ptr<const Candidate> candidate{};  // that it is; nullptr: a method made it
  const CalibrationSet* calibration{};           // nullptr: none was read
  bool calibrates = false;                       // the method did; else the layer report alone
  TextRead read{};                               // of the calibration set
  std::shared_ptr<const BudgetPlan> budget{};    // nullptr: it has none
  const CalibrationSet* budget_text{};           // that the budget was spent by; nullptr: by none
  const CalibrationSet* training{};  // that the cell was trained on; nullptr: it was not
  std::vector<double> losses{};      // of its training, before each step
  QuantizeSeconds stages{};
  size_t quantize_threads = 0;  // of the earlier run whose seconds these are; 0: of this one
  EffectiveBits bits{};
  std::optional<RotationFacts> rotation{};
  Perplexity perplexity{}, reference{};
  std::string reference_name{};            // ReferenceName of what it is compared with
  std::optional<Comparison> comparison{};  // with the reference
  std::vector<Against> against{};          // the run's other quantized cells
  std::vector<OtherSeed> other_seeds{};
  double evaluate_seconds = 0;                   // wall time, the cell's share
  size_t kernel_linears = 0;                     // whose products went through the kernels
  std::optional<size_t> decoded_from{};          // as of KernelPath
  std::vector<std::string> simulated_linears{};  // whose did not although they were to
  std::optional<PathGap> gap{};                  // where some went through the kernels
  GapLimits limits{};                            // of the gap
  std::optional<CellSpeed> speed{};
  std::optional<KvCacheFacts> kv_cache{};      // where it is rounded
  std::optional<LoraFacts> lora{};             // where adapters were trained
  std::shared_ptr<const CellLedger> ledger{};  // nullptr: not asked for

  const std::string& method() const { return spec == nullptr ? label : spec->label; }
  bool GapTooWide() const { return gap && !(limits.LogitsHold(*gap) && limits.LinearsHold(*gap)); }
};

// Mean and standard deviation (n - 1) of the PPL over calibration seeds, two or more.
struct SeedSpread {
  std::vector<size_t> seeds;
  std::vector<double> ppl;
  double mean = 0, deviation = 0;
};
std::optional<SeedSpread> SpreadOver(const CellResult& cell);

}  // namespace quantref
