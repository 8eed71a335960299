#pragma once

#include <span>
#include <vector>

#include "harness/method/quantizer.h"

namespace quantref {

// AWQ: Activation-aware Weight Quantization (Lin et al., 2023). Two searches over the calibration
// inputs of one block, each of which can be switched off:
//
// Scales (eq. 4 and 5). Of each scaling group, with s_X = mean |x_j| of its inputs' channels,
//   s* = argmin_s || Q(W diag(s)) Q(diag(s)^-1 X) - W X ||,  s = s_X^ratio,
// over ratio = 0, 1/grid, ..., (grid - 1)/grid; the output is that of the module around the group
// (ScaleSearch). Ratio 0 scales nothing, so the search never does worse than rounding alone on the
// inputs that it sees: those of the first tokens of up to 16 calibration samples, `tokens` of them
// in all. s_X is a mean over all calibration tokens. Q rounds the inputs only where the config
// rounds activations.
//
// Clipping (auto_clip of the authors' program). For each scale of each quantized linear other than
// q and k, whose products the softmax magnifies: weights are cut at absmax * (1 - i/clip_grid),
// i = 0 .. clip_grid * max_shrink - 1, where the group's part of the output changes least. That
// change, summed over all calibration tokens, is d^T G d with d the group's weights less their
// rounded values and G = sum x x^T over the group's inputs. The program of the authors samples a
// few hundred tokens instead; the Gram matrix holds all of them exactly. Scales that reach over
// rows (granularities tensor and column) are not clipped: the paper has none.
class Awq final : public Transform {
 public:
  std::string_view name() const override { return "awq"; }
  std::string_view summary() const override {
    return "searched channel scales and weight clipping (Lin et al. 2023)";
  }
  std::span<const Knob> knobs() const override;
  DataNeeds needs(const Knobs& knobs) const override;
  void Apply(CalibratedBlock& block, const Knobs& knobs, size_t threads) const override;
  bool Clips(const Knobs& knobs) const override { return knobs.Flag("clip"); }
  SearchWork Searches(const BlockPlan& block, const Knobs& knobs) const override;
};

// s = max(mean^ratio, 1e-4), divided by sqrt(max s * min s): positive and finite for any means.
// A mean that is not finite counts as 1. Channels of mean 0, which no token of the calibration
// reaches (behind a ReLU), keep a scale of 1 and count for nothing: by the formula, as the authors'
// code has it, a later token that does would drown its others by a factor of 10^4.
std::vector<float> AwqScales(std::span<const double> channel_mean, double ratio);

struct ClipGrid {
  size_t grid = 20;   // shrinking goes in steps of 1/grid, grid > 0
  size_t steps = 10;  // candidates, the first of which clips nothing; 0 < steps <= grid
};

// The limits as CalibratedBlock has them: (rows, scales a row). Of candidates that are equally good
// the least clipped. The scheme's granularity is row or group; gram: (in, in). The result does not
// depend on `threads`. Throws Error as RoundToNearest does.
Matrix<float> AwqLimits(MatrixView<const float> weights, const WeightScheme& scheme,
                        MatrixView<const double> gram, const ClipGrid& clip, size_t threads);

}  // namespace quantref
