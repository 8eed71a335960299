#include "harness/model/transformer.h"

#include "harness/base/check.h"
#include "harness/kernels/isa.h"

namespace quantref {

Transformer::Transformer(const ModelConfig& config, ModelWeights weights, size_t max_tokens,
                         Products products)
    : config_(config),
      weights_(With(std::move(weights), products)),
      max_tokens_(max_tokens),
      ropes_(config, max_tokens) {
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

BlockShape BlockRange::ShapeOf(size_t layer, const RopeTable& rope) const {
  const bool rounds = rounds_cache == nullptr || (*rounds_cache)[layer];
  return {config, layer, rope, rounds ? kv_cache : nullptr};
}

void RunBlocks(const BlockRange& range, const RopeTable& rope, MatrixView<float> h, Workspace& work,
               const RangeObserver& observer, KvCache* cache) {
  for (size_t layer = range.from; layer < range.to(); ++layer) {
    if (observer.input) observer.input(layer, h);
    const BlockWeights& block = range.blocks[layer - range.from];
    const BlockShape shape = range.ShapeOf(layer, rope);
    Observer of_block;
    if (observer.tap) {
      of_block = [&](Tap tap, MatrixView<const float> x) { observer.tap(layer, tap, x); };
    }
    if (observer.last && layer + 1 == range.to())
      return ObserveBlock(shape, block, *observer.last, h, work, of_block);
    const KvView past = cache == nullptr ? KvView{} : cache->layer(layer);
    BlockForward(shape, block, h, work, of_block, cache == nullptr ? nullptr : &past);
  }
  if (observer.input) observer.input(range.to(), h);
}

void Transformer::Forward(std::span<const uint32_t> ids, MatrixView<float> h, Workspace& work,
                          KvCache* cache, const ModelObserver& observer) const {
  Embed(config_, weights_, ids, h, cache == nullptr ? 0 : cache->tokens, work.team());
  Run(0, weights_.blocks.size(), h, work, cache, observer);
  FinalNorm(config_, weights_, h, work.team());
}

void Transformer::Run(size_t from, size_t to, MatrixView<float> h, Workspace& work, KvCache* cache,
                      const ModelObserver& observer) const {
  const size_t before = cache == nullptr ? 0 : cache->tokens;
  const BlockRange range{config_, std::span(weights_.blocks).subspan(from, to - from), from,
                         weights_.kv_cache ? &*weights_.kv_cache : nullptr};
  const RangeObserver seen{.tap = observer};
  ropes_.With(config_, before + h.rows(), before,
              [&](const RopeTable& rope) { RunBlocks(range, rope, h, work, seen, cache); });
}

void Transformer::Run(size_t from, size_t to, MatrixView<float> h, Workspace& work) const {
  QR_CHECK_LE(from, to);
  QR_CHECK_LE(to, weights_.blocks.size());
  QR_CHECK_LE(h.rows(), max_tokens_);
  Run(from, to, h, work, nullptr, {});
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
