#include "harness/model/block.h"

#include "harness/base/check.h"
#include "harness/kernels/isa.h"

namespace quantref {
namespace {

void AddTo(MatrixView<float> h, MatrixView<const float> x, Team* team) {
  ForTokens(team, h.rows(), [&](size_t t) { Ops().add(h.row(t), x.row(t), h.cols()); });
}

void Observe(const Observer& observer, Tap tap, MatrixView<const float> x) {
  if (observer) observer(tap, x);
}

}  // namespace

size_t TapChannels(const ModelConfig& config, Tap tap) {
  if (tap == Tap::kAttentionOutput) return config.heads * config.head_dim;
  return tap == Tap::kMlpHidden ? config.intermediate : config.hidden;
}

const std::vector<size_t>& Readers(Tap tap) {
  static const std::array<std::vector<size_t>, kTaps> readers = {
      {{kQ, kK, kV}, {kO}, {kGate, kUp}, {kDown}}};
  return readers[static_cast<size_t>(tap)];
}

Tap TapOf(size_t linear) {
  QR_CHECK_LT(linear, static_cast<size_t>(kLinears));
  if (linear <= kV) return Tap::kAttentionInput;
  if (linear == kO) return Tap::kAttentionOutput;
  return linear == kDown ? Tap::kMlpHidden : Tap::kMlpInput;
}

namespace {

// The heads' outputs side by side, (T, heads * head_dim), in the workspace.
MatrixView<const float> AttentionHeads(const BlockShape& shape, const BlockWeights& block,
                                       MatrixView<const float> x, Workspace& work,
                                       const Observer& observer, const KvView* past) {
  const ModelConfig& config = shape.config;
  const size_t tokens = x.rows(), q_size = config.heads * config.head_dim;
  const size_t kv_size = config.kv_heads * config.head_dim;
  const size_t before = past == nullptr ? 0 : past->tokens, seen = before + tokens;
  if (past != nullptr) QR_CHECK_LE(seen, past->keys.rows());
  const MatrixView<float> q = Shaped(work.q, tokens, q_size);
  const MatrixView<float> keys =
      past == nullptr ? Shaped(work.k, tokens, kv_size) : past->keys.Rows(0, seen);
  const MatrixView<float> values =
      past == nullptr ? Shaped(work.v, tokens, kv_size) : past->values.Rows(0, seen);
  const MatrixView<float> k = keys.Rows(before, tokens), v = values.Rows(before, tokens);
  const MatrixView<float> attention = Shaped(work.attention, tokens, q_size);

  Observe(observer, Tap::kAttentionInput, x);
  ApplyLinear(block.q, x, q, work.linear);
  ApplyLinear(block.k, x, k, work.linear);
  ApplyLinear(block.v, x, v, work.linear);
  ApplyRope(shape.rope, config.head_dim, q, before, work.team());
  ApplyRope(shape.rope, config.head_dim, k, before, work.team());
  CausalAttention(config, q, keys, values, work.scores, attention, work.team());
  Observe(observer, Tap::kAttentionOutput, attention);
  return attention;
}

// What down_proj reads, (T, intermediate), in the workspace.
MatrixView<const float> MlpHidden(const BlockShape& shape, const BlockWeights& block,
                                  MatrixView<const float> x, Workspace& work,
                                  const Observer& observer) {
  const size_t tokens = x.rows();
  const MatrixView<float> gate = Shaped(work.gate, tokens, shape.config.intermediate);
  const MatrixView<float> up = Shaped(work.up, tokens, shape.config.intermediate);

  Observe(observer, Tap::kMlpInput, x);
  ApplyLinear(block.gate, x, gate, work.linear);
  ApplyLinear(block.up, x, up, work.linear);
  ForTokens(work.team(), tokens,
            [&](size_t t) { Ops().silu_multiply(gate.row(t), up.row(t), up.row(t), up.cols()); });
  Observe(observer, Tap::kMlpHidden, up);
  return up;
}

}  // namespace

void AttentionForward(const BlockShape& shape, const BlockWeights& block, MatrixView<const float> x,
                      MatrixView<float> y, Workspace& work, const Observer& observer,
                      const KvView* past) {
  ApplyLinear(block.o, AttentionHeads(shape, block, x, work, observer, past), y, work.linear);
}

void MlpForward(const BlockShape& shape, const BlockWeights& block, MatrixView<const float> x,
                MatrixView<float> y, Workspace& work, const Observer& observer) {
  ApplyLinear(block.down, MlpHidden(shape, block, x, work, observer), y, work.linear);
}

void BlockForward(const BlockShape& shape, const BlockWeights& block, MatrixView<float> h,
                  Workspace& work, const Observer& observer, const KvView* past) {
  const MatrixView<float> x = Shaped(work.x, h.rows(), h.cols());
  const MatrixView<float> y = Shaped(work.y, h.rows(), h.cols());
  Team* const team = work.team();
  RmsNorm(h, block.attention_norm, shape.config.rms_eps, x, team);
  AttentionForward(shape, block, x, y, work, observer, past);
  AddTo(h, y, team);
  RmsNorm(h, block.mlp_norm, shape.config.rms_eps, x, team);
  MlpForward(shape, block, x, y, work, observer);
  AddTo(h, y, team);
}

void ObserveBlock(const BlockShape& shape, const BlockWeights& block, Tap last, MatrixView<float> h,
                  Workspace& work, const Observer& observer) {
  const MatrixView<float> x = Shaped(work.x, h.rows(), h.cols());
  const MatrixView<float> y = Shaped(work.y, h.rows(), h.cols());
  RmsNorm(h, block.attention_norm, shape.config.rms_eps, x, work.team());
  if (last == Tap::kAttentionInput) return Observe(observer, last, x);
  const MatrixView<const float> heads = AttentionHeads(shape, block, x, work, observer, nullptr);
  if (last == Tap::kAttentionOutput) return;
  ApplyLinear(block.o, heads, y, work.linear);
  AddTo(h, y, work.team());
  RmsNorm(h, block.mlp_norm, shape.config.rms_eps, x, work.team());
  if (last == Tap::kMlpInput) return Observe(observer, last, x);
  MlpHidden(shape, block, x, work, observer);
}

std::vector<ScalingGroup> ScalingGroups(const ModelConfig& config) {
  std::vector<ScalingGroup> groups = {{"input_layernorm", Tap::kAttentionInput, std::nullopt}};
  if (config.heads == config.kv_heads) groups.push_back({"v_proj", Tap::kAttentionOutput, kV});
  groups.push_back({"post_attention_layernorm", Tap::kMlpInput, std::nullopt});
  groups.push_back({"up_proj", Tap::kMlpHidden, kUp});
  return groups;
}

}  // namespace quantref
