#include "harness/model/llama.h"

#include <fmt/format.h>

#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/kernels/isa.h"

namespace quantref {
namespace {

uint32_t AgreeOnBos(const LlamaConfig& config, const Tokenizer& tokenizer,
                    const std::filesystem::path& dir) {
  const std::optional<uint32_t> of_tokenizer = tokenizer.bos_id();
  if (of_tokenizer && config.bos_id && *of_tokenizer != *config.bos_id) {
    throw Error(fmt::format("config.json says bos_token_id {}, tokenizer.model says {}",
                            *config.bos_id, *of_tokenizer),
                dir.string(), "every protocol begins with BOS: make the two agree");
  }
  if (!of_tokenizer && !config.bos_id) {
    throw Error("neither config.json nor tokenizer.model names a BOS token", dir.string(),
                "every protocol begins with BOS: set bos_token_id in config.json");
  }
  return of_tokenizer ? *of_tokenizer : *config.bos_id;
}

// Scratch keeps its storage as long as the shape stays the same.
MatrixView<float> Shaped(Matrix<float>& matrix, size_t rows, size_t cols) {
  if (matrix.rows() != rows || matrix.cols() != cols) matrix = Matrix<float>(rows, cols);
  return matrix.view();
}

void AddTo(MatrixView<float> h, MatrixView<const float> x) {
  for (size_t t = 0; t < h.rows(); ++t) Ops().add(h.row(t), x.row(t), h.cols());
}

}  // namespace

Model LoadModel(const std::string& name, const std::filesystem::path& dir, WeightType type,
                size_t threads) {
  if (!std::filesystem::is_directory(dir)) {
    throw Error("expected a folder with config.json, *.safetensors and tokenizer.model, found none",
                dir.string());
  }
  LlamaConfig config = ReadConfig(dir / "config.json");
  Tokenizer tokenizer = Tokenizer::Load(dir / "tokenizer.model");
  if (tokenizer.vocab_size() != config.vocab) {
    throw Error(fmt::format("config.json says vocab_size {}, tokenizer.model has {} pieces",
                            config.vocab, tokenizer.vocab_size()),
                dir.string(), "the tokenizer belongs to another model");
  }
  const uint32_t bos_id = AgreeOnBos(config, tokenizer, dir);
  ModelWeights weights = LoadWeights(config, Checkpoint::Open(dir), type, threads);
  return {name, dir, config, std::move(tokenizer), bos_id, std::move(weights)};
}

Transformer::Transformer(const LlamaConfig& config, ModelWeights weights, size_t max_tokens)
    : config_(config), weights_(std::move(weights)), rope_(config, max_tokens) {
  QR_CHECK_LE(max_tokens, config.context);
}

Matrix<float> Transformer::Embed(std::span<const uint32_t> ids) const {
  Matrix<float> h(ids.size(), config_.hidden);
  for (size_t t = 0; t < ids.size(); ++t) {
    QR_CHECK_LT(ids[t], config_.vocab);
    weights_.embedding.weight.DecodeRows(ids[t], h.view().Rows(t, 1));
  }
  return h;
}

void Transformer::AttentionBlock(const BlockWeights& block, MatrixView<float> h,
                                 Workspace& work) const {
  const size_t tokens = h.rows(), q_size = config_.heads * config_.head_dim;
  const size_t kv_size = config_.kv_heads * config_.head_dim;
  const MatrixView<float> x = Shaped(work.x, tokens, config_.hidden);
  const MatrixView<float> q = Shaped(work.q, tokens, q_size);
  const MatrixView<float> k = Shaped(work.k, tokens, kv_size), v = Shaped(work.v, tokens, kv_size);
  const MatrixView<float> attention = Shaped(work.attention, tokens, q_size);
  Shaped(work.scores, kQueryTile, tokens);

  RmsNorm(h, block.attention_norm, config_.rms_eps, x);
  ApplyLinear(block.q, x, q, work.panel);
  ApplyLinear(block.k, x, k, work.panel);
  ApplyLinear(block.v, x, v, work.panel);
  ApplyRope(rope_, config_.head_dim, q);
  ApplyRope(rope_, config_.head_dim, k);
  CausalAttention(config_, q, k, v, work.scores, attention);
  ApplyLinear(block.o, attention, x, work.panel);
  AddTo(h, x);
}

void Transformer::MlpBlock(const BlockWeights& block, MatrixView<float> h, Workspace& work) const {
  const size_t tokens = h.rows();
  const MatrixView<float> x = Shaped(work.x, tokens, config_.hidden);
  const MatrixView<float> gate = Shaped(work.gate, tokens, config_.intermediate);
  const MatrixView<float> up = Shaped(work.up, tokens, config_.intermediate);

  RmsNorm(h, block.mlp_norm, config_.rms_eps, x);
  ApplyLinear(block.gate, x, gate, work.panel);
  ApplyLinear(block.up, x, up, work.panel);
  for (size_t t = 0; t < tokens; ++t)
    Ops().silu_multiply(gate.row(t), up.row(t), up.row(t), up.cols());
  ApplyLinear(block.down, up, x, work.panel);
  AddTo(h, x);
}

Matrix<float> Transformer::Hidden(std::span<const uint32_t> ids, Workspace& work) const {
  QR_CHECK_LE(ids.size(), rope_.cosines.rows());
  Matrix<float> h = Embed(ids);
  for (const BlockWeights& block : weights_.blocks) {
    AttentionBlock(block, h.view(), work);
    MlpBlock(block, h.view(), work);
  }
  RmsNorm(h.view(), weights_.final_norm, config_.rms_eps, h.view());
  return h;
}

void Transformer::Logits(MatrixView<const float> hidden, MatrixView<float> logits,
                         Workspace& work) const {
  ApplyLinear(weights_.head, hidden, logits, work.panel);
}

}  // namespace quantref
