#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "harness/base/matrix.h"
#include "harness/base/team.h"

namespace quantref {

// A tensor that is trained, (rows, cols), with its gradient and AdamW's two moments of it.
struct Parameter {
  std::string name;     // "layers.3.mlp.down_proj", with ".bias" where it is one
  bool decays = false;  // matrices do; gains and biases do not
  Matrix<float> value, gradient, mean, square;

  bool empty() const { return value.rows() == 0; }
};

// Of these values, (rows, cols); moments and gradient 0.
Parameter MakeParameter(std::string name, MatrixView<const float> values, bool decays);
Parameter MakeParameter(std::string name, std::span<const float> values);

struct AdamWSettings {
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  double decay = 0;  // of a parameter that decays, times the rate
  double clip = 1;   // the most that the norm of all gradients together may be; 0: any
};

// The norm of all gradients together.
double GradientNorm(std::span<Parameter* const> parameters, Team* team);

// Step `step`, counted from 1, of AdamW (Loshchilov and Hutter 2019, algorithm 2, in PyTorch's
// order): value *= 1 - rate decay; mean = beta1 mean + (1 - beta1) g; square = beta2 square + (1 -
// beta2) g^2; value -= rate mean' / (sqrt(square') + epsilon), where ' is divided by 1 - beta^step.
// g: the gradient, all of them scaled down where their norm is above `clip` (Pascanu et al. 2013,
// algorithm 1). Returns that norm.
double AdamWStep(const AdamWSettings& settings, double rate, size_t step,
                 std::span<Parameter* const> parameters, Team* team);

// The share of the peak rate at step `step`, counted from 1, of `steps`: rises evenly over the
// first `warmup`, then falls as half a cosine towards 0 behind the last (Loshchilov and Hutter
// 2017, eq. 5).
double RateShare(size_t step, size_t steps, size_t warmup);

}  // namespace quantref
