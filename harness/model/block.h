#pragma once

#include <array>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "harness/base/matrix.h"
#include "harness/model/config.h"
#include "harness/model/kv_cache.h"
#include "harness/model/ops.h"
#include "harness/model/weights.h"

namespace quantref {

// The forward pass of one block, in parts that calibration can look into, and the block's wiring
// as data.

// The buffers of one forward pass, reused from window to window: one for each forward that runs at
// the same time. A forward runs on the team's threads, without one on the calling thread; its bits
// are the same. The team must outlive its use.
struct Workspace {
  explicit Workspace(Team* team = nullptr) { linear.team = team; }
  Team* team() const { return linear.team; }

  Matrix<float> hidden, x, y, q, k, v, attention, gate, up;
  std::vector<Matrix<float>> scores;  // one a worker
  LinearScratch linear;
};

// What a block's forward reads beside its weights. The config and the table must outlive it.
struct BlockShape {
  const ModelConfig& config;
  const RopeTable& rope;
};

// The four places where linears read their inputs, in the order of the data's way.
enum class Tap { kAttentionInput, kAttentionOutput, kMlpInput, kMlpHidden };
inline constexpr size_t kTaps = 4;
inline constexpr std::array<Tap, kTaps> kAllTaps = {Tap::kAttentionInput, Tap::kAttentionOutput,
                                                    Tap::kMlpInput, Tap::kMlpHidden};
// The number of channels there.
size_t TapChannels(const ModelConfig& config, Tap tap);

// The linears that read a tap: q, k, v; o; gate, up; down. As indices into BlockWeights::linears().
const std::vector<size_t>& Readers(Tap tap);
Tap TapOf(size_t linear);

// Sees the inputs x (T, channels) of a tap's readers, before any rounding of activations.
using Observer = std::function<void(Tap tap, MatrixView<const float> x)>;

// y (T, hidden) = the attention module of its (normed) input x (T, hidden): q, k, v, rope, causal
// attention, o. Without `past` the window begins at position 0; with it, it stands behind the
// past's tokens, and its keys and values are written behind theirs, where there must be room.
void AttentionForward(const BlockShape& shape, const BlockWeights& block, MatrixView<const float> x,
                      MatrixView<float> y, Workspace& work, const Observer& observer = {},
                      const KvView* past = nullptr);

// y (T, hidden) = the MLP of its (normed) input x (T, hidden).
void MlpForward(const BlockShape& shape, const BlockWeights& block, MatrixView<const float> x,
                MatrixView<float> y, Workspace& work, const Observer& observer = {});

// h (T, hidden) = the block's output for the input h: two residual steps. `past` as above.
void BlockForward(const BlockShape& shape, const BlockWeights& block, MatrixView<float> h,
                  Workspace& work, const Observer& observer = {}, const KvView* past = nullptr);

// What the observer sees of BlockForward up to the tap `last`, and nothing that it does not need: h
// is used up.
void ObserveBlock(const BlockShape& shape, const BlockWeights& block, Tap last, MatrixView<float> h,
                  Workspace& work, const Observer& observer);

// Channels that can be scaled without changing the model: the producer's output channel j divided
// by s_j, and column j of every consumer times s_j. The producer is a norm's gain, or the rows of a
// linear whose output reaches the consumers channel by channel.
struct ScalingGroup {
  std::string_view name;  // of the producer, "input_layernorm", "v_proj", ...
  Tap tap;                // what the consumers read
  // The producing linear (index into linears()); none: the norm before the tap.
  std::optional<size_t> producer;
};

// The groups of a block of this shape. v_proj is a producer only where heads do not share it.
std::vector<ScalingGroup> ScalingGroups(const ModelConfig& config);

// The indices of BlockWeights::linears().
enum LinearIndex : size_t { kQ, kK, kV, kO, kGate, kUp, kDown, kLinears };

}  // namespace quantref
