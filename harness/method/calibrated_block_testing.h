#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "harness/base/rng.h"
#include "harness/method/calibrated_block.h"
#include "harness/testing/random.h"

// A small block under calibration, for the tests of transforms. Only tests include this.

namespace quantref::testing {

struct BlockSpec {
  size_t hidden = 32, intermediate = 48, heads = 4, kv_heads = 4, head_dim = 8;
  bool bias = false;
  size_t samples = 2, tokens = 12;  // of the calibration text
  uint64_t seed = 1;
};

inline Matrix<float> Copy(const Matrix<float>& from) {
  Matrix<float> to(from.rows(), from.cols());
  std::copy_n(from.data(), from.rows() * from.cols(), to.data());
  return to;
}

// The largest |a - b| as a share of the largest |b|; 0 for zeros, infinite for what is not finite.
inline double RelativeDifference(MatrixView<const float> a, MatrixView<const float> b) {
  double difference = 0, largest = 0;
  for (size_t r = 0; r < b.rows(); ++r) {
    for (size_t c = 0; c < b.cols(); ++c) {
      const double left = static_cast<double>(a(r, c)), right = static_cast<double>(b(r, c));
      if (!std::isfinite(left) || !std::isfinite(right)) return HUGE_VAL;
      difference = std::max(difference, std::fabs(left - right));
      largest = std::max(largest, std::fabs(right));
    }
  }
  return difference == 0 ? 0 : difference / largest;
}

// Random weights and random calibration inputs; tests change either and calibrate again.
class TestBlock {
 public:
  const ModelConfig config;
  const RopeTable rope;
  std::vector<Matrix<float>> samples;  // hidden states, (tokens, hidden) each
  CalibratedBlock block;

  explicit TestBlock(const BlockSpec& spec)
      : config(ConfigOf(spec)), rope(config, spec.tokens), block{{config, 0, rope}} {
    Rng rng(spec.seed);
    block.weights.norms[kAttentionNorm] = Gain(rng);
    block.weights.norms[kMlpNorm] = Gain(rng);
    for (const LinearRow& row : layout().linears) {
      const size_t out = row.rows, in = row.cols;
      Linear& linear = block.weights.linears[row.index];
      linear.name = row.name;
      linear.weight = Weight(NormalMatrix(out, in, rng, 1 / std::sqrt(static_cast<double>(in))));
      for (size_t r = 0; r < out && spec.bias; ++r) {
        linear.bias.push_back(static_cast<float>(0.2 * rng.Normal()));
      }
    }
    for (size_t i = 0; i < spec.samples; ++i) {
      samples.push_back(NormalMatrix(spec.tokens, spec.hidden, rng));
    }
    Calibrate();
  }
  TestBlock(const TestBlock&) = delete;
  TestBlock& operator=(const TestBlock&) = delete;

  // Every linear gets the scheme.
  void Quantize(const WeightScheme& scheme) { block.schemes.fill(scheme); }

  // Changes each weight (row r, column c) of one linear in place.
  void Edit(size_t linear, const std::function<void(size_t r, size_t c, float& weight)>& change) {
    Weight& weight = block.weights.linears[linear].weight;
    Matrix<float> values = weight.Decode();
    for (size_t r = 0; r < values.rows(); ++r) {
      for (size_t c = 0; c < values.cols(); ++c) change(r, c, values(r, c));
    }
    weight = Weight(std::move(values));
  }

  // Everything that a method can ask for, of the block as it is now.
  void Calibrate() { block.inputs = Collect(); }
  std::array<InputStatistics, kTaps> Collect() const {
    std::array<InputStatistics, kTaps> inputs;
    for (const Tap tap : kAllTaps) Clear(inputs[static_cast<size_t>(tap)], layout().Channels(tap));
    Workspace work;
    for (const Matrix<float>& sample : samples) {
      Matrix<float> h = Copy(sample);
      BlockForward(
          block.shape, block.weights, h.view(), work,
          [&](Tap tap, MatrixView<const float> x) { Add(x, inputs[static_cast<size_t>(tap)]); });
    }
    for (InputStatistics& input : inputs) {
      for (double& mean : input.channel_mean) mean /= static_cast<double>(input.tokens);
    }
    return inputs;
  }

  // What the block makes of the hidden state.
  Matrix<float> Output(const Matrix<float>& hidden) const {
    Matrix<float> h = Copy(hidden);
    Workspace work;
    BlockForward(block.shape, block.weights, h.view(), work);
    return h;
  }

  BlockLayout layout() const { return LayoutOf(config, 0); }
  std::vector<ScalingGroup> groups() const { return layout().ScalingGroups(); }
  // "input_layernorm", "v_proj"
  std::string ProducerName(const ScalingGroup& group) const {
    const BlockLayout parts = layout();
    if (!group.of_norm()) {
      const std::string_view name = parts.row(std::get<LinearRows>(group.producer).linear).name;
      return std::string(name.substr(name.find('.') + 1));
    }
    for (const NormRow& norm : parts.norms) {
      if (norm.index == std::get<NormIndex>(group.producer)) return std::string(norm.name);
    }
    return "none";
  }

 private:
  static ModelConfig ConfigOf(const BlockSpec& spec) {
    ModelConfig config;
    config.hidden = spec.hidden;
    config.intermediate = spec.intermediate;
    config.heads = spec.heads;
    config.kv_heads = spec.kv_heads;
    config.head_dim = spec.head_dim;
    config.layers.resize(1);
    config.layers[0].bias.fill(spec.bias);
    return config;
  }

  std::vector<float> Gain(Rng& rng) const {
    std::vector<float> gain;
    for (size_t i = 0; i < config.hidden; ++i) {
      gain.push_back(static_cast<float>(0.5 + rng.Uniform()));
    }
    return gain;
  }

  static void Clear(InputStatistics& input, size_t channels) {
    input.channel_max.assign(channels, 0);
    input.channel_mean.assign(channels, 0);
    input.gram = Matrix<double>(channels, channels);
    std::fill_n(input.gram.data(), channels * channels, 0.0);
  }

  static void Add(MatrixView<const float> x, InputStatistics& input) {
    input.tokens += x.rows();
    Matrix<float>& kept = input.kept.emplace_back(x.rows(), x.cols());
    for (size_t t = 0; t < x.rows(); ++t) {
      const float* const row = x.row(t);
      std::copy_n(row, x.cols(), kept.row(t));
      for (size_t j = 0; j < x.cols(); ++j) {
        const double value = static_cast<double>(row[j]);
        input.channel_max[j] = std::max(input.channel_max[j], std::fabs(row[j]));
        input.channel_mean[j] += std::fabs(value);
        double* const products = input.gram.row(j);
        for (size_t i = 0; i < x.cols(); ++i) products[i] += static_cast<double>(row[i]) * value;
      }
    }
  }
};

}  // namespace quantref::testing
