#pragma once

#include <span>
#include <vector>

#include "harness/method/quantizer.h"

namespace quantref {

// SmoothQuant (Xiao et al., 2022), eq. 4: moves the outliers of activations into the weights. Of
// the channels j behind each norm,
//   s_j = max|X_j|^alpha / max|W_j|^(1 - alpha),
// the norm's gain is divided by s and the columns of all that reads it are multiplied by s;
// max|W_j| is over all those readers. As the paper has it, other producers (v_proj before o_proj,
// up_proj before down_proj) are left alone. Which linears then round their inputs, and how, is the
// config's business.
//
// Search: instead of one alpha, the best of 0, 0.05, ..., 1 for each group, by the error of the
// module's output on the kept inputs with weights and activations rounded (ScaleSearch). The paper
// chooses one alpha a model, on validation data.
class SmoothQuant final : public Transform {
 public:
  std::string_view name() const override { return "smoothquant"; }
  std::string_view summary() const override {
    return "activation outliers moved into the weights (Xiao et al. 2022)";
  }
  std::span<const Knob> knobs() const override;
  DataNeeds needs(const Knobs& knobs) const override;
  void Apply(CalibratedBlock& block, const Knobs& knobs, size_t threads) const override;
  SearchWork Searches(const BlockPlan& block, const Knobs& knobs) const override;
};

// Eq. 4; both maxima of each channel are finite and >= 0. Weights' maxima and the scales are at
// least 1e-5, so that scales are positive and finite for channels without any weight or activation.
std::vector<float> SmoothQuantScales(std::span<const float> channel_max,
                                     std::span<const float> weight_max, double alpha);

}  // namespace quantref
