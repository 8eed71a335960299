#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "harness/base/matrix.h"
#include "harness/model/attention.h"
#include "harness/model/config.h"
#include "harness/model/kv_cache.h"
#include "harness/model/layout.h"
#include "harness/model/ops.h"
#include "harness/model/weights.h"

namespace quantref {

// The forward pass of one block, in parts that calibration can look into. Its wiring as data:
// layout.h.

// The buffers of one forward pass, reused from window to window: one for each forward that runs at
// the same time. A forward runs on the team's threads, without one on the calling thread; its bits
// are the same. The team must outlive its use.
struct Workspace {
  explicit Workspace(Team* team = nullptr) { linear.team = team; }
  Team* team() const { return linear.team; }

  Matrix<float> hidden, x, y, q, k, v, fused, attention, gate, up;
  std::vector<AttentionScratch> attending;   // one a worker
  std::vector<std::vector<float>> rotating;  // likewise
  std::optional<RoundedKv> rounded;          // of a block, where a window has no cache
  LinearScratch linear;
};

// What a block's forward reads beside its weights. The config and the table must outlive it.
struct BlockShape {
  const ModelConfig& config;
  size_t layer;
  const RopeTable& rope;
  const KvScheme* kv_cache = nullptr;  // keys and values are rounded so; nullptr: not

  BlockLayout layout() const { return LayoutOf(config, layer); }
};

// Sees the inputs x (T, channels) of a tap's readers, rotated where the layer says so, before any
// rounding of activations.
using Observer = std::function<void(Tap tap, MatrixView<const float> x)>;

// y (T, hidden) = the attention module of its (normed) input x (T, hidden): q, k, v, their norms,
// rope, causal attention, o. What comes behind a module, as a norm of its output, is the block's.
void AttentionForward(const BlockShape& shape, const BlockWeights& block, MatrixView<const float> x,
                      MatrixView<float> y, Workspace& work);

// y (T, hidden) = the MLP of its (normed) input x (T, hidden).
void MlpForward(const BlockShape& shape, const BlockWeights& block, MatrixView<const float> x,
                MatrixView<float> y, Workspace& work);

// h (T, hidden) = the block's output for the input h: two residual steps. Without `past` the window
// begins at position 0; with it, it stands behind the past's tokens, and its keys and values are
// written behind theirs, where there must be room. Where the shape says that they are rounded, the
// window's are as a cache would hold them for each of its queries, and the past is a rounded one.
void BlockForward(const BlockShape& shape, const BlockWeights& block, MatrixView<float> h,
                  Workspace& work, const Observer& observer = {}, const KvView* past = nullptr);

// What the observer sees of BlockForward up to the tap `last`, and nothing that it does not need: h
// is used up.
void ObserveBlock(const BlockShape& shape, const BlockWeights& block, Tap last, MatrixView<float> h,
                  Workspace& work, const Observer& observer);

}  // namespace quantref
