#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

#include "harness/base/matrix.h"
#include "harness/io/tokenizer.h"
#include "harness/model/block.h"
#include "harness/model/config.h"
#include "harness/model/weights.h"

namespace quantref {

// Everything of a model folder: config.json, *.safetensors, tokenizer.model, checked against each
// other.
struct Model {
  std::string name;
  std::filesystem::path dir;
  LlamaConfig config;
  Tokenizer tokenizer;
  uint32_t bos_id = 0;
  ModelWeights weights;
};

// Throws Error where a file is wrong or the tokenizer and the config disagree (vocabulary size,
// BOS).
Model LoadModel(const std::string& name, const std::filesystem::path& dir, WeightType type,
                size_t threads);

// h (T, hidden): the embeddings of the ids. ids < vocab.
void Embed(const ModelWeights& weights, std::span<const uint32_t> ids, MatrixView<float> h);

// The forward pass of a model over one window: whole, from position 0. Const and safe to share
// between threads, each with its own Workspace. Same ids, same bits, whatever ran before or beside
// it.
class Transformer {
 public:
  // max_tokens: the longest window that will be asked for, <= config.context.
  Transformer(const LlamaConfig& config, ModelWeights weights, size_t max_tokens);

  const LlamaConfig& config() const { return config_; }
  const ModelWeights& weights() const { return weights_; }

  // The final norm's output, (T, hidden), for the token ids of one window. ids < vocab.
  Matrix<float> Hidden(std::span<const uint32_t> ids, Workspace& work) const;

  // logits (n, vocab) of n rows of Hidden's result: position t predicts token t + 1.
  void Logits(MatrixView<const float> hidden, MatrixView<float> logits, Workspace& work) const;

 private:
  LlamaConfig config_;
  ModelWeights weights_;
  RopeTable rope_;
};

}  // namespace quantref
