#include "harness/model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace quantref {
namespace {

using Kind = RopeScaling::Kind;

// The base of a longer sequence, so that its slowest pair turns as far as it does in the original
// context and the fastest pair is left alone ("NTK-aware", as transformers computes it).
double DynamicBase(const ModelConfig& config, size_t length) {
  const RopeScaling& scaling = config.rope_scaling;
  const double stretch = scaling.factor * static_cast<double>(length) / scaling.original_context -
                         (scaling.factor - 1);
  const double dim = static_cast<double>(config.RotaryDim());
  return config.rope_theta * std::pow(stretch, dim / (dim - 2));
}

// Llama 3.1: waves longer than original_context / low_freq_factor are slowed by the factor, waves
// shorter than original_context / high_freq_factor are left alone, those between are interpolated.
double Llama3Frequency(const RopeScaling& scaling, double plain) {
  const double turns = scaling.original_context * plain / (2 * std::numbers::pi);
  if (turns < scaling.low_freq_factor) return plain / scaling.factor;
  if (turns > scaling.high_freq_factor) return plain;
  const double share =
      (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
  return plain * (share + (1 - share) / scaling.factor);
}

// YaRN (arXiv 2309.00071): pairs that make more than beta_fast turns in the original context are
// left alone, pairs that make fewer than beta_slow are slowed by the factor, and between the two
// the share of each falls linearly with the pair's index.
class YarnRamp {
 public:
  explicit YarnRamp(const ModelConfig& config) : factor_(config.rope_scaling.factor) {
    const RopeScaling& scaling = config.rope_scaling;
    low_ = PairOfTurns(config, scaling.beta_fast);
    high_ = PairOfTurns(config, scaling.beta_slow);
    if (scaling.truncate) {
      low_ = std::floor(low_);
      high_ = std::ceil(high_);
    }
    low_ = std::max(low_, 0.0);
    high_ = std::min(high_, static_cast<double>(config.RotaryDim()) - 1);
    if (low_ == high_) high_ += 0.001;
  }

  double Frequency(double plain, size_t pair) const {
    const double slowed = std::clamp((static_cast<double>(pair) - low_) / (high_ - low_), 0.0, 1.0);
    return plain / factor_ * slowed + plain * (1 - slowed);
  }

 private:
  // The (fractional) pair that turns so often in the original context.
  static double PairOfTurns(const ModelConfig& config, double turns) {
    return static_cast<double>(config.RotaryDim()) *
           std::log(config.rope_scaling.original_context / (turns * 2 * std::numbers::pi)) /
           (2 * std::log(config.rope_theta));
  }

  double factor_, low_ = 0, high_ = 0;
};

double Scaled(const ModelConfig& config, double plain, size_t pair, bool beyond) {
  const RopeScaling& scaling = config.rope_scaling;
  switch (scaling.kind) {
    case Kind::kLinear:
      return plain / scaling.factor;
    case Kind::kLlama3:
      return Llama3Frequency(scaling, plain);
    case Kind::kYarn:
      return YarnRamp(config).Frequency(plain, pair);
    case Kind::kLongRope:  // arXiv 2402.13753
      return plain / (beyond ? scaling.long_factors : scaling.short_factors).at(pair);
    case Kind::kNone:
    case Kind::kDynamic:
      break;
  }
  return plain;
}

}  // namespace

size_t CommonRopeLength(const ModelConfig& config, size_t longest) {
  const RopeScaling& scaling = config.rope_scaling;
  const bool depends =
      scaling.kind == Kind::kDynamic ||
      (scaling.kind == Kind::kLongRope && scaling.short_factors != scaling.long_factors);
  if (!depends) return longest;
  return std::min(longest, static_cast<size_t>(scaling.original_context));
}

std::vector<double> RopeFrequencies(const ModelConfig& config, size_t length) {
  const bool beyond = length > CommonRopeLength(config, length);
  const bool stretched = beyond && config.rope_scaling.kind == Kind::kDynamic;
  const double base = stretched ? DynamicBase(config, length) : config.rope_theta;
  const double dim = static_cast<double>(config.RotaryDim());
  std::vector<double> frequencies(config.RotaryDim() / 2);
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double exponent = 2.0 * static_cast<double>(i) / dim;
    frequencies[i] = Scaled(config, std::pow(base, -exponent), i, beyond);
  }
  return frequencies;
}

namespace {

void FillAngles(const ModelConfig& config, size_t length, size_t first, Matrix<float>& cosines,
                Matrix<float>& sines) {
  const std::vector<double> frequencies = RopeFrequencies(config, length);
  cosines = Matrix<float>(length - first, frequencies.size());
  sines = Matrix<float>(length - first, frequencies.size());
  const double factor = config.rope_scaling.attention_factor;
  for (size_t i = 0; i < frequencies.size(); ++i) {
    for (size_t row = 0; row < cosines.rows(); ++row) {
      const double angle = static_cast<double>(first + row) * frequencies[i];
      cosines(row, i) = static_cast<float>(factor * std::cos(angle));
      sines(row, i) = static_cast<float>(factor * std::sin(angle));
    }
  }
}

}  // namespace

RopeTable::RopeTable(const ModelConfig& config, size_t length, size_t first_position)
    : first(first_position) {
  FillAngles(config, length, first, cosines, sines);
  if (!config.HasLocalRope()) return;
  ModelConfig local = config;
  local.rope_theta = config.local_rope_theta;
  local.rope_scaling = {};
  FillAngles(local, length, first, local_cosines, local_sines);
}

}  // namespace quantref
