#include "harness/model/transformer.h"

#include "harness/base/check.h"

namespace quantref {

Transformer::Transformer(const ModelConfig& config, ModelWeights weights, size_t max_tokens)
    : config_(config),
      weights_(std::move(weights)),
      max_tokens_(max_tokens),
      rope_(config, CommonRopeLength(config, max_tokens)) {
  QR_CHECK_LE(max_tokens, config.context);
}

void Embed(const ModelWeights& weights, std::span<const uint32_t> ids, MatrixView<float> h,
           Team* team) {
  ForTokens(team, ids.size(), [&](size_t t) {
    QR_CHECK_LT(ids[t], weights.embedding.weight.rows());
    weights.embedding.weight.DecodeRows(ids[t], h.Rows(t, 1));
  });
}

void Transformer::Forward(std::span<const uint32_t> ids, MatrixView<float> h, Workspace& work,
                          KvCache* cache) const {
  const size_t before = cache == nullptr ? 0 : cache->tokens, length = before + ids.size();
  Embed(weights_, ids, h, work.team());
  if (length <= rope_.length()) return RunBlocks(rope_, h, work, cache);
  RunBlocks(RopeTable(config_, length, before), h, work, cache);
}

void Transformer::RunBlocks(const RopeTable& rope, MatrixView<float> h, Workspace& work,
                            KvCache* cache) const {
  const BlockShape shape{config_, rope};
  for (size_t i = 0; i < weights_.blocks.size(); ++i) {
    const KvView past = cache == nullptr ? KvView{} : cache->layer(i);
    BlockForward(shape, weights_.blocks[i], h, work, {}, cache == nullptr ? nullptr : &past);
  }
  RmsNorm(h, weights_.final_norm, config_.rms_eps, h, work.team());
}

Matrix<float> Transformer::Hidden(std::span<const uint32_t> ids, Workspace& work) const {
  QR_CHECK_LE(ids.size(), max_tokens_);
  Matrix<float> h(ids.size(), config_.hidden);
  Forward(ids, h.view(), work, nullptr);
  return h;
}

MatrixView<const float> Transformer::Extend(std::span<const uint32_t> ids, KvCache& cache,
                                            Workspace& work) const {
  QR_CHECK_EQ(cache.keys.size(), weights_.blocks.size());
  QR_CHECK_LE(cache.tokens + ids.size(), cache.capacity());
  QR_CHECK_LE(cache.tokens + ids.size(), max_tokens_);
  const MatrixView<float> h = Shaped(work.hidden, ids.size(), config_.hidden);
  Forward(ids, h, work, &cache);
  cache.tokens += ids.size();
  return h;
}

void Transformer::Logits(MatrixView<const float> hidden, MatrixView<float> logits,
                         Workspace& work) const {
  ApplyLinear(weights_.head, hidden, logits, work.linear);
}

}  // namespace quantref
