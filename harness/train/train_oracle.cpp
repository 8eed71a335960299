#include "harness/train/train_oracle.h"

#include <cmath>
#include <cstddef>

#include "harness/model/layout.h"
#include "harness/model/rope.h"

namespace quantref::testing {
namespace {

// y (T, out) = x (T, in) w^T + b
Plain PlainLinear(const PlainParameters& p, const std::string& name, const Plain& x, size_t in) {
  const Plain& w = p.at(name);
  const auto bias = p.find(name + ".bias");
  const size_t tokens = x.size() / in, out = w.size() / in;
  Plain y(tokens * out);
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t o = 0; o < out; ++o) {
      double sum = bias == p.end() ? 0 : bias->second[o];
      for (size_t i = 0; i < in; ++i) sum += x[t * in + i] * w[o * in + i];
      y[t * out + o] = sum;
    }
  }
  return y;
}

Plain PlainNorm(const Plain& x, const Plain& gain, double eps) {
  const size_t n = gain.size();
  Plain y(x.size());
  for (size_t t = 0; t < x.size() / n; ++t) {
    double squares = 0;
    for (size_t i = 0; i < n; ++i) squares += x[t * n + i] * x[t * n + i];
    const double root = std::sqrt(squares / static_cast<double>(n) + eps);
    for (size_t i = 0; i < n; ++i) y[t * n + i] = x[t * n + i] / root * gain[i];
  }
  return y;
}

void PlainRope(const ModelConfig& config, Plain& x, size_t heads) {
  const size_t dim = config.head_dim, half = dim / 2, width = heads * dim;
  const std::vector<double> frequencies = RopeFrequencies(config, x.size() / width);
  for (size_t t = 0; t < x.size() / width; ++t) {
    for (size_t h = 0; h < heads; ++h) {
      for (size_t i = 0; i < half; ++i) {
        double& a = x[t * width + h * dim + i];
        double& b = x[t * width + h * dim + i + half];
        const double angle = static_cast<double>(t) * frequencies[i];
        const double rotated = a * std::cos(angle) - b * std::sin(angle);
        b = b * std::cos(angle) + a * std::sin(angle);
        a = rotated;
      }
    }
  }
}

Plain PlainAttention(const ModelConfig& config, size_t layer, const Plain& q, const Plain& k,
                     const Plain& v) {
  const size_t dim = config.head_dim, width = config.heads * dim, kv_width = config.kv_heads * dim;
  const size_t tokens = q.size() / width, window = config.layers[layer].sliding_window;
  Plain out(q.size());
  for (size_t h = 0; h < config.heads; ++h) {
    const size_t at = h * dim, kv = h / (config.heads / config.kv_heads) * dim;
    for (size_t t = 0; t < tokens; ++t) {
      const size_t begin = window == 0 || t < window ? 0 : t - window + 1;
      Plain weights;
      double sum = 0;
      for (size_t s = begin; s <= t; ++s) {
        double score = 0;
        for (size_t i = 0; i < dim; ++i) score += q[t * width + at + i] * k[s * kv_width + kv + i];
        weights.push_back(std::exp(score / std::sqrt(static_cast<double>(dim))));
        sum += weights.back();
      }
      for (size_t s = begin; s <= t; ++s) {
        for (size_t i = 0; i < dim; ++i)
          out[t * width + at + i] += weights[s - begin] / sum * v[s * kv_width + kv + i];
      }
    }
  }
  return out;
}

void PlainBlock(const ModelConfig& config, size_t layer, const PlainParameters& p, Plain& h) {
  const auto linear = [&](const char* name, const Plain& x, size_t in) {
    return PlainLinear(p, NameInModel(layer, name), x, in);
  };
  const auto add = [&](const Plain& y) {
    for (size_t i = 0; i < h.size(); ++i) h[i] += y[i];
  };
  const size_t d = config.hidden;
  Plain x = PlainNorm(h, p.at(NameInModel(layer, "input_layernorm")), config.rms_eps);
  Plain q = linear("self_attn.q_proj", x, d), k = linear("self_attn.k_proj", x, d);
  PlainRope(config, q, config.heads);
  PlainRope(config, k, config.kv_heads);
  const Plain heads = PlainAttention(config, layer, q, k, linear("self_attn.v_proj", x, d));
  add(linear("self_attn.o_proj", heads, config.heads * config.head_dim));
  x = PlainNorm(h, p.at(NameInModel(layer, "post_attention_layernorm")), config.rms_eps);
  Plain gate = linear("mlp.gate_proj", x, d);
  const Plain up = linear("mlp.up_proj", x, d);
  for (size_t i = 0; i < gate.size(); ++i) gate[i] *= up[i] / (1 + std::exp(-gate[i]));
  add(linear("mlp.down_proj", gate, config.intermediate));
}

// (length, vocab) of one window.
Plain PlainLogits(const ModelConfig& config, const PlainParameters& p,
                  std::span<const uint32_t> ids) {
  const Plain& table = p.at(p.contains("embed_tokens") ? "embed_tokens" : "lm_head");
  Plain h;
  for (const uint32_t id : ids) {
    const auto row = table.begin() + static_cast<std::ptrdiff_t>(id * config.hidden);
    h.insert(h.end(), row, row + static_cast<std::ptrdiff_t>(config.hidden));
  }
  for (size_t layer = 0; layer < config.layers.size(); ++layer) PlainBlock(config, layer, p, h);
  return PlainLinear(p, "lm_head", PlainNorm(h, p.at("norm"), config.rms_eps), config.hidden);
}

Plain PlainLogProbabilities(const Plain& logits, size_t row, size_t vocab) {
  double sum = 0;
  for (size_t i = 0; i < vocab; ++i) sum += std::exp(logits[row * vocab + i]);
  Plain values(vocab);
  for (size_t i = 0; i < vocab; ++i) values[i] = logits[row * vocab + i] - std::log(sum);
  return values;
}

}  // namespace

double PlainLoss(const ModelConfig& config, const PlainParameters& p,
                 const PlainParameters* reference, std::span<const uint32_t> ids,
                 const BatchShape& batch) {
  double sum = 0;
  for (size_t w = 0; w < batch.windows; ++w) {
    const std::span<const uint32_t> window = ids.subspan(w * batch.length, batch.length);
    const Plain logits = PlainLogits(config, p, window);
    const Plain of_reference =
        reference == nullptr ? Plain() : PlainLogits(config, *reference, window);
    for (size_t t = 0; t + 1 < batch.length; ++t) {
      const Plain own = PlainLogProbabilities(logits, t, config.vocab);
      if (reference == nullptr) {
        sum -= own[window[t + 1]];
        continue;
      }
      const Plain other = PlainLogProbabilities(of_reference, t, config.vocab);
      for (size_t i = 0; i < config.vocab; ++i) sum += std::exp(other[i]) * (other[i] - own[i]);
    }
  }
  return sum / static_cast<double>(batch.windows * (batch.length - 1));
}

}  // namespace quantref::testing
