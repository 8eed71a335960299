#pragma once

#include <span>
#include <vector>

#include "harness/method/calibrated_block.h"
#include "harness/method/quantizer.h"

namespace quantref {

// Tokens that a search looks at where its knobs do not say: ratios are stable from there on
// (quantizers/README.md).
inline constexpr size_t kSearchTokens = 2048;

// The question that both AWQ (Lin et al. 2023, eq. 4) and a searched SmoothQuant ask: how much
// does the output of the module around a scaling group change on the kept inputs when the group's
// consumers are rounded to nearest with their columns scaled by s, and their inputs, divided by s,
// are rounded as planned? The module is the attention for q, k, v; the MLP for gate and up; the
// linear itself for o and for down. All else stays as it is.
class ScaleSearch {
 public:
  // The block must outlive it and has kept inputs, of which the search takes those of so many
  // tokens.
  ScaleSearch(const CalibratedBlock& block, const ScalingGroup& group,
              size_t tokens = kSearchTokens, size_t threads = 1);

  // The mean squared difference of the outputs; infinite where the scaled weights are too large for
  // FP16 scales. Safe to call from several threads.
  double Error(std::span<const float> scales) const;

  // The index of the first candidate with the least error, all tried in parallel. An error that is
  // not a number counts as infinite.
  size_t Best(std::span<const std::vector<float>> candidates, size_t threads) const;

 private:
  BlockWeights Trial(std::span<const float> scales) const;

  const CalibratedBlock& block_;
  const ScalingGroup group_;
  std::vector<MatrixView<const float>> inputs_;
  std::vector<Matrix<float>> outputs_;  // of the block as it is, by kept sample
};

// y (T, hidden) = what the module of a tap gives for the tap's inputs x (T, channels).
void ModuleForward(const BlockShape& shape, const BlockWeights& weights, Tap tap,
                   MatrixView<const float> x, MatrixView<float> y, Workspace& work);

// Adds what Best of so many candidates on so many tokens does in a block that is planned so.
void AddScaleSearch(const BlockPlan& block, const ScalingGroup& group, size_t candidates,
                    size_t tokens, SearchWork& work);

}  // namespace quantref
