#pragma once

#include <span>

#include "eval/accuracy/sensitivity.h"
#include "eval/cost/cell_load.h"
#include "eval/cost/rates.h"
#include "eval/text/protocol.h"
#include "harness/model/plan_model.h"

namespace quantref {

// How long a run is busy with one model: the reference (no load), or a quantized cell. Wall time on
// so many threads, put together from the rates of pieces.
class CellTime {
 public:
  // All must outlive it.
  CellTime(const ModelConfig& config, const CellLoad* load, size_t threads, Rates& rates);

  // `before`: cells that read alike and are quantized at the same time; what they do for it is
  // free.
  double Quantize(std::span<const CellLoad* const> before = {}) const;
  double Train() const;  // of all steps
  double Measure(std::span<const Window> windows, bool compare) const;
  // What kept logits take beside that: the reference's are kept, and all models compared with them.
  double KeptLogits(std::span<const Window> windows) const;
  // Of measuring sensitivities by so many samples of so many tokens.
  double Sensitivity(const SensitivityWork& work, size_t samples, size_t length) const;
  // Of the gate between the paths, by one thread, where the cell is on the kernels.
  double Gate(std::span<const Window> windows) const;

 private:
  LinearFormat FormatOf(const PlannedLinear& linear, bool kernels) const;
  double LinearToken(const PlannedLinear& linear, bool kernels) const;
  double BlockToken(const BlockPlan& block, bool kernels) const;
  double HeadToken(bool kernels) const;
  double Attention(size_t layer, size_t tokens) const;
  double Forward(size_t tokens, bool kernels) const;
  double OverWindows(size_t windows, double of_all) const;
  BlockPlan Block(size_t layer) const;

  using Others = std::span<const CellLoad* const>;
  double Collecting(size_t layer, Others with) const;
  double Advancing(size_t layer) const;
  double PartialPass(size_t layer, Tap last) const;
  double Statistics(size_t layer, Others of) const;
  double Searches(size_t layer, Others with) const;
  double Module(size_t layer, Tap tap, size_t tokens) const;
  double Rounding() const;
  double Report(const PlannedLinear& linear) const;
  double OverSamples(double of_sample) const;

  const ModelConfig& config_;
  const CellLoad* load_;
  size_t threads_;
  Rates& rates_;
};

}  // namespace quantref
