#pragma once

#include "harness/method/quantizer.h"

namespace quantref {

// HQQ: Badri and Shaji, "Half-Quadratic Quantization of Large Machine Learning Models", 2023
// (mobiusml.github.io/hqq_blog). Without any data, it looks for the zero points z that make
//   |W - s (Q - z)|_p^p,   Q = clamp(round(W / s + z), 0, 2^b - 1),   p < 1,
// small, an error in which outliers count little. The scales s are those of the weights' range and
// stay. Half-quadratic splitting with E for the error, from beta on:
//   E = shrink(W - s (Q - z), beta),   shrink(x) = sign(x) max(|x| - |x|^(p - 1) / beta, 0)
//   z = the mean over the weights of a scale of Q - (W - E) / s,   beta = kappa * beta
// As in the authors' program (mobiusml/hqq) the steps end when the mean |W - s (Q - z)| of the
// whole matrix does not fall, and the zero points of that step are taken. (Its present version
// leaves beta as it is: kappa 1.)
//
// The zero points are no codes: format float_zero, whose FP16 scales are rounded before the search
// and its FP16 zero points behind it.
//
// Knobs: lp_norm (p), beta, kappa, iterations.
class Hqq final : public Rounder {
 public:
  std::string_view name() const override { return "hqq"; }
  std::string_view summary() const override {
    return "half-quadratic search for zero points, without data (Badri and Shaji 2023)";
  }
  std::span<const Knob> knobs() const override;
  std::string WhyNot(const WeightScheme& scheme) const override;
  Rounded Round(const RoundInput& input) const override;
};

}  // namespace quantref
