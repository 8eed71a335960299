#include "harness/model/block.h"

#include <optional>

#include "harness/base/check.h"
#include "harness/kernels/isa.h"

namespace quantref {
namespace {

void AddTo(MatrixView<float> h, MatrixView<const float> x, Team* team) {
  ForTokens(team, h.rows(), [&](size_t t) { Ops().add(h.row(t), x.row(t), h.cols()); });
}

// The heads' outputs side by side, (T, heads * head_dim), in the workspace.
MatrixView<const float> AttentionHeads(const BlockShape& shape, const BlockWeights& block,
                                       MatrixView<const float> x, Workspace& work,
                                       const KvView* past) {
  const AttentionShape attends = AttentionOf(shape.config, shape.layer);
  const size_t tokens = x.rows(), q_size = attends.heads * attends.head_dim;
  const size_t kv_size = attends.kv_heads * attends.head_dim;
  const size_t before = past == nullptr ? 0 : past->tokens, seen = before + tokens;
  if (past != nullptr) QR_CHECK_LE(seen, past->keys.rows());
  const MatrixView<float> q = Shaped(work.q, tokens, q_size);
  const MatrixView<float> keys =
      past == nullptr ? Shaped(work.k, tokens, kv_size) : past->keys.Rows(0, seen);
  const MatrixView<float> values =
      past == nullptr ? Shaped(work.v, tokens, kv_size) : past->values.Rows(0, seen);
  const MatrixView<float> k = keys.Rows(before, tokens), v = values.Rows(before, tokens);
  const MatrixView<float> attention = Shaped(work.attention, tokens, q_size);

  ApplyLinear(block.linears[kQ], x, q, work.linear);
  ApplyLinear(block.linears[kK], x, k, work.linear);
  ApplyLinear(block.linears[kV], x, v, work.linear);
  ApplyRope(shape.rope, attends.head_dim, q, before, work.team());
  ApplyRope(shape.rope, attends.head_dim, k, before, work.team());
  CausalAttention(attends, q, keys, values, work.attending, attention, work.team());
  return attention;
}

// What the last linear of the MLP reads, (T, intermediate), in the workspace.
MatrixView<const float> MlpHidden(const BlockShape& shape, const BlockWeights& block,
                                  MatrixView<const float> x, Workspace& work) {
  const size_t tokens = x.rows();
  const MatrixView<float> gate = Shaped(work.gate, tokens, shape.config.intermediate);
  const MatrixView<float> up = Shaped(work.up, tokens, shape.config.intermediate);

  ApplyLinear(block.linears[kGate], x, gate, work.linear);
  ApplyLinear(block.linears[kUp], x, up, work.linear);
  ForTokens(work.team(), tokens,
            [&](size_t t) { Ops().silu_multiply(gate.row(t), up.row(t), up.row(t), up.cols()); });
  return up;
}

// The block, or its way up to the tap `last`.
void Forward(const BlockShape& shape, const BlockWeights& block, MatrixView<float> h,
             Workspace& work, const Observer& observer, const KvView* past,
             std::optional<Tap> last) {
  const MatrixView<float> x = Shaped(work.x, h.rows(), h.cols());
  const MatrixView<float> y = Shaped(work.y, h.rows(), h.cols());
  const double eps = shape.config.rms_eps;
  Team* const team = work.team();
  const auto ends_at = [&](Tap tap, MatrixView<const float> input) {
    if (observer) observer(tap, input);
    return tap == last;
  };

  RmsNorm(h, block.norms[kAttentionNorm], eps, x, team);
  if (ends_at(Tap::kAttentionInput, x)) return;
  const MatrixView<const float> heads = AttentionHeads(shape, block, x, work, past);
  if (ends_at(Tap::kAttentionOutput, heads)) return;
  ApplyLinear(block.linears[kO], heads, y, work.linear);
  AddTo(h, y, team);

  RmsNorm(h, block.norms[kMlpNorm], eps, x, team);
  if (ends_at(Tap::kMlpInput, x)) return;
  const MatrixView<const float> hidden = MlpHidden(shape, block, x, work);
  if (ends_at(Tap::kMlpHidden, hidden)) return;
  ApplyLinear(block.linears[kDown], hidden, y, work.linear);
  AddTo(h, y, team);
}

}  // namespace

void AttentionForward(const BlockShape& shape, const BlockWeights& block, MatrixView<const float> x,
                      MatrixView<float> y, Workspace& work) {
  ApplyLinear(block.linears[kO], AttentionHeads(shape, block, x, work, nullptr), y, work.linear);
}

void MlpForward(const BlockShape& shape, const BlockWeights& block, MatrixView<const float> x,
                MatrixView<float> y, Workspace& work) {
  ApplyLinear(block.linears[kDown], MlpHidden(shape, block, x, work), y, work.linear);
}

void BlockForward(const BlockShape& shape, const BlockWeights& block, MatrixView<float> h,
                  Workspace& work, const Observer& observer, const KvView* past) {
  Forward(shape, block, h, work, observer, past, std::nullopt);
}

void ObserveBlock(const BlockShape& shape, const BlockWeights& block, Tap last, MatrixView<float> h,
                  Workspace& work, const Observer& observer) {
  Forward(shape, block, h, work, observer, nullptr, last);
}

}  // namespace quantref
