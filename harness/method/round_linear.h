#pragma once

#include <memory>
#include <optional>
#include <string>

#include "harness/method/method.h"
#include "harness/model/weights.h"

namespace quantref {

// Calibration tokens whose outputs the layer report compares, where there are so many.
inline constexpr size_t kReportTokens = 2048;

// What happened to one linear. "Before" and "after" are rounding's: the weights before it are those
// that the transforms left.
struct LayerReport {
  std::string name, method;  // method: the rounder whose codes these are
  std::string asked{};       // the rounder that was to make them, where it is another
  WeightScheme scheme;
  std::string packed_sha256{};
  // Stored bits per weight: scales and zeros included, and FP16 weights kept for outliers.
  double effective_bits = 0;
  double weight_mse = 0;  // mean squared difference of the weights
  // Of the outputs on the kept calibration inputs: mean squared difference, activations rounded as
  // planned, and that over the mean square of the outputs before. Absent where nothing was
  // calibrated.
  std::optional<double> output_mse, output_error;
  float scale_min = 0, scale_max = 0;
  double clipped_share = 0;  // weights beyond their grid's ends by more than half a step
  std::string note;          // what the method decided
  // What training would begin with, where that is asked for: each weight, cut at its limit, where
  // rounding it to nearest gives its code; where the method gave it another, what that stands for.
  std::shared_ptr<const Matrix<float>> start{};
  double seconds = 0;  // of the rounder
};

// What of a calibrated block concerns one of its linears; all empty for an uncalibrated one.
struct LinearContext {
  const InputStatistics* inputs = nullptr;
  MatrixView<const float> limits{};
  std::optional<ActivationFormat> activations{};
  std::string note{};
  size_t threads = 1;
  bool keep_start = false;  // for LayerReport::start
};

// Rounds the linear in place as planned (it has a scheme). Throws Error naming it where its rounder
// cannot.
LayerReport RoundLinear(const PlannedLinear& planned, const Method& method,
                        const LinearContext& context, Linear& linear);

}  // namespace quantref
