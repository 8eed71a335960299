#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "harness/base/matrix.h"
#include "harness/model/block.h"
#include "harness/model/config.h"
#include "harness/model/weights.h"

namespace quantref {

// The two ends of a forward pass around its blocks, for who takes the blocks one by one; whoever
// does not goes through Transformer.
//
// h (T, hidden): the embeddings of the ids, scaled or with learned positions as the family has it;
// the first id is at position `first`. ids < vocab.
void Embed(const ModelConfig& config, const ModelWeights& weights, std::span<const uint32_t> ids,
           MatrixView<float> h, size_t first = 0, Team* team = nullptr);
// In place: what the head reads, of the last block's output h (T, hidden).
void FinalNorm(const ModelConfig& config, const ModelWeights& weights, MatrixView<float> h,
               Team* team = nullptr);

// Sees the inputs x (T, channels) of every tap of every block, as Observer does of one.
using ModelObserver = std::function<void(size_t layer, Tap tap, MatrixView<const float> x)>;

// The forward pass of a model: over one window, whole, from position 0, or token by token behind a
// cache. Const and safe to share between threads, each with its own Workspace. Same ids, same bits,
// whatever ran before or beside it, and whatever the workspace's team.
class Transformer {
 public:
  // max_tokens: the longest window or text that will be asked for, <= config.context.
  Transformer(const ModelConfig& config, ModelWeights weights, size_t max_tokens,
              Products products = Products::kKernel);

  const ModelConfig& config() const { return config_; }
  const ModelWeights& weights() const { return weights_; }

  // The final norm's output, (T, hidden), for the token ids of one window. ids < vocab.
  Matrix<float> Hidden(std::span<const uint32_t> ids, Workspace& work,
                       const ModelObserver& observer = {}) const;

  // The same for ids that stand behind the cache's tokens, at positions cache.tokens and on; their
  // keys and values join the cache, which must have room for them and be of this model. A whole
  // window has the bits of Hidden; a text in several calls agrees with it up to rounding. Not so
  // beyond the original context of `dynamic` and `longrope` scaling: cached keys keep the angles of
  // the text as long as it was then, as they do in transformers. Where the weights say how the
  // cache is rounded it must be such a one, and Hidden's queries see what they would behind it.
  // The view is of work.hidden and
  // lasts until its next use; one token after another allocates nothing (beyond that context, its
  // angles).
  MatrixView<const float> Extend(std::span<const uint32_t> ids, KvCache& cache,
                                 Workspace& work) const;

  // logits (n, vocab) of n rows of Hidden's result: position t predicts token t + 1.
  void Logits(MatrixView<const float> hidden, MatrixView<float> logits, Workspace& work) const;

 private:
  void Forward(std::span<const uint32_t> ids, MatrixView<float> h, Workspace& work, KvCache* cache,
               const ModelObserver& observer) const;
  void RunBlocks(const RopeTable& rope, MatrixView<float> h, Workspace& work, KvCache* cache,
                 const ModelObserver& observer) const;

  ModelConfig config_;
  ModelWeights weights_;
  size_t max_tokens_;
  RopeTable rope_;  // of every text that is no longer
};

}  // namespace quantref
