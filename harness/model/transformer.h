#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "harness/base/matrix.h"
#include "harness/model/block.h"
#include "harness/model/config.h"
#include "harness/model/kv_cache.h"
#include "harness/model/rope.h"
#include "harness/model/weights.h"

namespace quantref {

// A forward pass in its parts, for who stops on the way or changes weights there; whoever does not
// goes through Transformer.

// h (T, hidden): the embeddings of the ids, scaled or with learned positions as the family has it;
// the first id is at position `first`. ids < vocab.
void Embed(const ModelConfig& config, const ModelWeights& weights, std::span<const uint32_t> ids,
           MatrixView<float> h, size_t first = 0, Team* team = nullptr);
// In place: what the head reads, of the last block's output h (T, hidden).
void FinalNorm(const ModelConfig& config, const ModelWeights& weights, MatrixView<float> h,
               Team* team = nullptr);

// Sees the inputs x (T, channels) of every tap of every block, as Observer does of one.
using ModelObserver = std::function<void(size_t layer, Tap tap, MatrixView<const float> x)>;

// Blocks of a model that follow each other: those of the config's from `from` on.
struct BlockRange {
  const ModelConfig& config;
  std::span<const BlockWeights> blocks;
  size_t from = 0;
  const KvScheme* kv_cache = nullptr;               // keys and values are rounded so; nullptr: not
  const std::vector<bool>* rounds_cache = nullptr;  // in which of the model's; nullptr: in all

  size_t to() const { return from + blocks.size(); }
  BlockShape ShapeOf(size_t layer, const RopeTable& rope) const;
};

// What is seen of a range on the way through it.
struct RangeObserver {
  ModelObserver tap{};
  // What each block reads, h (T, hidden); of layer to(): what the last one gives.
  std::function<void(size_t layer, MatrixView<const float> h)> input{};
  // The way ends at this tap of the last block, which gives nothing then: h is used up.
  std::optional<Tap> last{};
};

// The one walk over blocks: h (T, hidden), what the first of them reads, becomes what the last one
// gives. `cache` as Transformer::Extend has it, the whole model's; nullptr: a window from position
// 0 on.
void RunBlocks(const BlockRange& range, const RopeTable& rope, MatrixView<float> h, Workspace& work,
               const RangeObserver& observer = {}, KvCache* cache = nullptr);

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
  // cache is rounded it must be such a one, and Hidden's queries see what they would behind it. The
  // view is of work.hidden and lasts until its next use; one token after another allocates nothing
  // (beyond that context, its angles).
  MatrixView<const float> Extend(std::span<const uint32_t> ids, KvCache& cache,
                                 Workspace& work) const;

  // A part of Hidden's way: h (T, hidden), what block `from` reads of a window, becomes what block
  // `to` would, which may be one behind the last; from <= to.
  void Run(size_t from, size_t to, MatrixView<float> h, Workspace& work) const;

  // logits (n, vocab) of n rows of Hidden's result: position t predicts token t + 1.
  void Logits(MatrixView<const float> hidden, MatrixView<float> logits, Workspace& work) const;

 private:
  void Forward(std::span<const uint32_t> ids, MatrixView<float> h, Workspace& work, KvCache* cache,
               const ModelObserver& observer) const;
  void Run(size_t from, size_t to, MatrixView<float> h, Workspace& work, KvCache* cache,
           const ModelObserver& observer) const;

  ModelConfig config_;
  ModelWeights weights_;
  size_t max_tokens_;
  RopeTables ropes_;
};

}  // namespace quantref
