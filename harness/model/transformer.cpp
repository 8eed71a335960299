#include "harness/model/transformer.h"

#include "harness/base/check.h"
#include "harness/kernels/isa.h"

namespace quantref {

Transformer::Transformer(const ModelConfig& config, ModelWeights weights, size_t max_tokens,
                         Products products)
    : config_(config),
      weights_(With(std::move(weights), products)),
      max_tokens_(max_tokens),
      rope_(config, CommonRopeLength(config, max_tokens)) {
  QR_CHECK_LE(max_tokens, config.context);
}

void Embed(const ModelConfig& config, const ModelWeights& weights, std::span<const uint32_t> ids,
           MatrixView<float> h, size_t first, Team* team) {
  const bool scaled = config.family->scaled_embedding;
  const float scale = config.EmbeddingScale();
  ForTokens(team, ids.size(), [&](size_t t) {
    QR_CHECK_LT(ids[t], weights.embedding.weight.rows());
    weights.embedding.weight.DecodeRows(ids[t], h.Rows(t, 1));
    if (scaled) Ops().scale(h.row(t), scale, h.cols());
    if (weights.positions != nullptr)
      Ops().add(h.row(t), weights.positions->view().row(first + t + kPositionOffset), h.cols());
  });
}

void FinalNorm(const ModelConfig& config, const ModelWeights& weights, MatrixView<float> h,
               Team* team) {
  if (weights.final_norm_bias.empty()) {
    RmsNorm(h, weights.final_norm, config.rms_eps, h, team);
  } else {
    LayerNorm(h, weights.final_norm, weights.final_norm_bias, config.rms_eps, h, team);
  }
}

void Transformer::Forward(std::span<const uint32_t> ids, MatrixView<float> h, Workspace& work,
                          KvCache* cache, const ModelObserver& observer) const {
  const size_t before = cache == nullptr ? 0 : cache->tokens, length = before + ids.size();
  Embed(config_, weights_, ids, h, before, work.team());
  if (length <= rope_.length()) {
    RunBlocks(rope_, h, work, cache, observer);
  } else {
    RunBlocks(RopeTable(config_, length, before), h, work, cache, observer);
  }
  FinalNorm(config_, weights_, h, work.team());
}

void Transformer::RunBlocks(const RopeTable& rope, MatrixView<float> h, Workspace& work,
                            KvCache* cache, const ModelObserver& observer) const {
  const KvScheme* kv_cache = weights_.kv_cache ? &*weights_.kv_cache : nullptr;
  for (size_t layer = 0; layer < weights_.blocks.size(); ++layer) {
    const KvView past = cache == nullptr ? KvView{} : cache->layer(layer);
    Observer of_block;
    if (observer) {
      of_block = [&](Tap tap, MatrixView<const float> x) { observer(layer, tap, x); };
    }
    BlockForward({config_, layer, rope, kv_cache}, weights_.blocks[layer], h, work, of_block,
                 cache == nullptr ? nullptr : &past);
  }
}

Matrix<float> Transformer::Hidden(std::span<const uint32_t> ids, Workspace& work,
                                  const ModelObserver& observer) const {
  QR_CHECK_LE(ids.size(), max_tokens_);
  Matrix<float> h(ids.size(), config_.hidden);
  Forward(ids, h.view(), work, nullptr, observer);
  return h;
}

MatrixView<const float> Transformer::Extend(std::span<const uint32_t> ids, KvCache& cache,
                                            Workspace& work) const {
  QR_CHECK_EQ(cache.layers(), weights_.blocks.size());
  QR_CHECK_EQ(cache.rounded.empty(), !weights_.kv_cache);
  QR_CHECK_LE(cache.tokens + ids.size(), cache.capacity());
  QR_CHECK_LE(cache.tokens + ids.size(), max_tokens_);
  const MatrixView<float> h = Shaped(work.hidden, ids.size(), config_.hidden);
  Forward(ids, h, work, &cache, {});
  cache.tokens += ids.size();
  return h;
}

void Transformer::Logits(MatrixView<const float> hidden, MatrixView<float> logits,
                         Workspace& work) const {
  ApplyLinear(weights_.head, hidden, logits, work.linear);
  if (config_.final_softcap == 0) return;
  const double cap = config_.final_softcap;
  ForTokens(work.team(), logits.rows(), [&](size_t t) {
    Ops().soft_cap(logits.row(t), static_cast<float>(1 / cap), static_cast<float>(cap),
                   logits.cols());
  });
}

}  // namespace quantref
