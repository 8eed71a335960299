#pragma once

#include "harness/method/quantizer.h"

namespace quantref {

// GPTQ: Frantar, Ashkboos, Hoefler, Alistarh, "GPTQ: Accurate Post-Training Quantization for
// Generative Pre-trained Transformers", 2022 (arXiv:2210.17323), Algorithm 1.
//
// For weights W (out, in) and inputs X (in, tokens) it looks for Q on the grid with a small
// |W X - Q X|^2, row by row and column by column: column j is rounded to nearest, and the weights
// that are not yet rounded take over its error,
//   e = (w_j - q_j) / U_jj,   w_k = w_k - e U_jk for k > j,   H^-1 = U^T U upper Cholesky,
//   H = X X^T + damp * mean(diag(X X^T)) I
// (eq. 2 and 3, section 3.3 steps 2 and 3). H is InputStatistics::gram: the paper's factor 2 and
// the number of tokens cancel. What the paper leaves open follows the authors' code
// (IST-DASLab/gptq): columns whose input is always 0 get H_jj = 1 before the mean is taken, and
// their weights count as 0.
//
// Grids are those of harness/quant/grid.h. Those of tensors, rows and columns are chosen from the
// original weights, and so are those of groups with static_groups; else from the weights as updated
// when the group's first column is reached, for which groups run in processing order and the result
// has PackedMatrix::order. Limits cut grids only: what clipping does to a weight is an error like
// that of rounding, and made up for. Without inputs (an embedding) H = I: round to nearest.
//
// Knobs:
//   damp             0..1       added to the diagonal of H, as a share of its mean; where H is not
//                               positive definite it is raised, and the note says so
//   block            1..65536   columns whose updates are applied together; the result is the same
//                               but for rounding in FP32
//   act_order        flag       columns by descending diag(H), not by number
//   static_groups    flag       as above
//   true_sequential  flag       the driver's: DataNeeds::true_sequential
//   asymmetric       flag       GPTAQ: outputs are to be what the reference's inputs give
//                               (GptqAsymmetry); needs calibration.sequential
//   asymmetry        0..1       GptqAsymmetry::alpha, with asymmetric alone
//   mse_clip         flag       grids that clip where that costs less (gptq_solver_grid.h)
//
// Throws Error where statistics are not finite or even a damping of 1000 does not make H positive
// definite, where the updated weights diverge (damp 0 and an almost singular H), and as
// ChooseGrids.
class Gptq final : public Rounder {
 public:
  std::string_view name() const override { return "gptq"; }
  std::string_view summary() const override {
    return "second-order rounding with error compensation (Frantar et al. 2022)";
  }
  std::span<const Knob> knobs() const override;
  DataNeeds needs(const Knobs& knobs) const override;
  bool Reorders(const WeightScheme& scheme, const Knobs& knobs) const override;
  std::string_view InPlace() const override {
    return "gptq.act_order: false or gptq.static_groups: true";
  }
  Rounded Round(const RoundInput& input) const override;
};

}  // namespace quantref
