#include "harness/model/block.h"

#include <algorithm>
#include <optional>

#include "harness/base/check.h"
#include "harness/kernels/isa.h"
#include "harness/model/attention_heads.h"

namespace quantref {
namespace {

void AddTo(MatrixView<float> h, MatrixView<const float> x, Team* team) {
  ForTokens(team, h.rows(), [&](size_t t) { Ops().add(h.row(t), x.row(t), h.cols()); });
}

void CopyRows(MatrixView<const float> from, MatrixView<float> to, Team* team) {
  ForTokens(team, from.rows(), [&](size_t t) { std::copy_n(from.row(t), from.cols(), to.row(t)); });
}

// One of the block's norms, of x into y, which may be the same.
void ApplyNorm(const BlockShape& shape, const BlockWeights& block, NormIndex norm,
               MatrixView<const float> x, MatrixView<float> y, Team* team) {
  const double eps = shape.config.rms_eps;
  if (block.norm_biases[norm].empty()) return RmsNorm(x, block.norms[norm], eps, y, team);
  LayerNorm(x, block.norms[norm], block.norm_biases[norm], eps, y, team);
}

// q (T, heads * head_dim), k and v (T, kv_heads * head_dim) of the module's input x.
void Project(const BlockWeights& block, MatrixView<const float> x, MatrixView<float> q,
             MatrixView<float> k, MatrixView<float> v, bool fused, Workspace& work) {
  if (!fused) {
    ApplyLinear(block.linears[kQ], x, q, work.linear);
    ApplyLinear(block.linears[kK], x, k, work.linear);
    ApplyLinear(block.linears[kV], x, v, work.linear);
    return;
  }
  const MatrixView<float> all = Shaped(work.fused, x.rows(), q.cols() + k.cols() + v.cols());
  ApplyLinear(block.linears[kQ], x, all, work.linear);
  CopyRows(all.Cols(0, q.cols()), q, work.team());
  CopyRows(all.Cols(q.cols(), k.cols()), k, work.team());
  CopyRows(all.Cols(q.cols() + k.cols(), v.cols()), v, work.team());
}

// What attention compares: queries or keys, normed and rotated as the family has it.
void Prepare(const BlockShape& shape, const std::vector<float>& gain, MatrixView<float> x,
             size_t first, Team* team) {
  const Family& family = *shape.config.family;
  if (family.qk_norms) NormHeads(gain, shape.config.rms_eps, x, team);
  if (family.learned_positions) return;
  const bool local = shape.config.layers[shape.layer].local_rope;
  ApplyRope(shape.rope, shape.config.head_dim, x, first, team, local);
}

// Queries, and keys and values of the module's input x, ready for attention.
void MakeHeads(const BlockShape& shape, const BlockWeights& block, MatrixView<const float> x,
               size_t before, MatrixView<float> q, MatrixView<float> k, MatrixView<float> v,
               Workspace& work) {
  Project(block, x, q, k, v, shape.config.family->fused, work);
  Prepare(shape, block.norms[kQNorm], q, before, work.team());
  Prepare(shape, block.norms[kKNorm], k, before, work.team());
}

// The cache that a block's keys and values go through where they are rounded: the past's, or for a
// window alone the workspace's, empty.
RoundedKv& RoundedFor(const BlockShape& shape, const KvView* past, size_t tokens, Workspace& work) {
  if (past != nullptr) {
    QR_CHECK(past->rounded != nullptr && past->rounded->scheme() == *shape.kv_cache);
    past->rounded->Forget(past->tokens);
    return *past->rounded;
  }
  std::optional<RoundedKv>& own = work.rounded;
  const size_t heads = shape.config.kv_heads, dim = shape.config.head_dim;
  if (!own || !own->Holds(*shape.kv_cache, heads, dim, tokens))
    own.emplace(*shape.kv_cache, heads, dim, tokens);
  own->Forget(0);
  return *own;
}

// AttentionHeads where keys and values are rounded: behind those of the tokens that wait.
MatrixView<const float> RoundedHeads(const BlockShape& shape, const BlockWeights& block,
                                     MatrixView<const float> x, Workspace& work,
                                     const KvView* past) {
  const AttentionShape attends = AttentionOf(shape.config, shape.layer);
  RoundedKv& cache = RoundedFor(shape, past, x.rows(), work);
  const size_t tokens = x.rows(), waiting = cache.waiting(), before = cache.tokens();
  const size_t q_size = attends.heads * attends.head_dim;
  const size_t kv_size = attends.kv_heads * attends.head_dim;
  const MatrixView<float> q = Shaped(work.q, tokens, q_size);
  const MatrixView<float> keys = Grown(work.k, waiting + tokens, kv_size);
  const MatrixView<float> values = Grown(work.v, waiting + tokens, kv_size);
  const MatrixView<float> attention = Shaped(work.attention, tokens, q_size);
  cache.CopyWaiting(keys, values);
  MakeHeads(shape, block, x, before, q, keys.Rows(waiting, tokens), values.Rows(waiting, tokens),
            work);
  cache.Add(keys, values, work.team());
  cache.CheckLoss(shape.layer);
  CausalAttention(attends, q, keys, values, work.attending, attention, work.team(), &cache);
  return attention;
}

// The heads' outputs side by side, (T, heads * head_dim), in the workspace.
MatrixView<const float> AttentionHeads(const BlockShape& shape, const BlockWeights& block,
                                       MatrixView<const float> x, Workspace& work,
                                       const KvView* past) {
  if (shape.kv_cache != nullptr) return RoundedHeads(shape, block, x, work, past);
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
  const MatrixView<float> attention = Shaped(work.attention, tokens, q_size);
  MakeHeads(shape, block, x, before, q, keys.Rows(before, tokens), values.Rows(before, tokens),
            work);
  CausalAttention(attends, q, keys, values, work.attending, attention, work.team());
  return attention;
}

// What o reads, (T, heads * head_dim), in the workspace.
MatrixView<const float> AttentionOutput(const BlockShape& shape, const BlockWeights& block,
                                        MatrixView<const float> x, Workspace& work,
                                        const KvView* past) {
  AttentionHeads(shape, block, x, work, past);
  const MatrixView<float> heads = work.attention.view();
  RotateTokens(shape.config.layers[shape.layer].attention_rotation, heads, work.rotating,
               work.team());
  return heads;
}

// up = act(gate) * up, or act(up) where there is no gate.
void Activate(const Family& family, MatrixView<const float> gate, MatrixView<float> up,
              Team* team) {
  using Activation = Family::Activation;
  const VectorOps& ops = Ops();
  if (!family.gated) {
    QR_CHECK(family.activation == Activation::kRelu);
    return ForTokens(team, up.rows(), [&](size_t t) { ops.relu(up.row(t), up.cols()); });
  }
  QR_CHECK(family.activation != Activation::kRelu);
  const auto multiply =
      family.activation == Activation::kSilu ? ops.silu_multiply : ops.gelu_multiply;
  ForTokens(team, up.rows(),
            [&](size_t t) { multiply(gate.row(t), up.row(t), up.row(t), up.cols()); });
}

// What the last linear of the MLP reads, (T, intermediate), in the workspace.
MatrixView<const float> MlpHidden(const BlockShape& shape, const BlockWeights& block,
                                  MatrixView<const float> x, Workspace& work) {
  const Family& family = *shape.config.family;
  const size_t tokens = x.rows(), size = shape.config.intermediate;
  const MatrixView<float> up = Shaped(work.up, tokens, size);
  MatrixView<const float> gate = up;  // not read where there is none
  if (family.fused) {
    const MatrixView<float> both = Shaped(work.fused, tokens, 2 * size);
    ApplyLinear(block.linears[kGate], x, both, work.linear);
    gate = both.Cols(0, size);
    CopyRows(both.Cols(size, size), up, work.team());
  } else {
    if (family.gated) {
      const MatrixView<float> own = Shaped(work.gate, tokens, size);
      ApplyLinear(block.linears[kGate], x, own, work.linear);
      gate = own;
    }
    ApplyLinear(block.linears[kUp], x, up, work.linear);
  }
  Activate(family, gate, up, work.team());
  RotateTokens(shape.config.layers[shape.layer].mlp_rotation, up, work.rotating, work.team());
  return up;
}

// The block, or its way up to the tap `last`.
void Forward(const BlockShape& shape, const BlockWeights& block, MatrixView<float> h,
             Workspace& work, const Observer& observer, const KvView* past,
             std::optional<Tap> last) {
  const MatrixView<float> x = Shaped(work.x, h.rows(), h.cols());
  const MatrixView<float> y = Shaped(work.y, h.rows(), h.cols());
  const bool post_norms = shape.config.family->post_norms;
  Team* const team = work.team();
  const auto ends_at = [&](Tap tap, MatrixView<const float> input) {
    if (observer) observer(tap, input);
    return tap == last;
  };

  ApplyNorm(shape, block, kAttentionNorm, h, x, team);
  if (ends_at(Tap::kAttentionInput, x)) return;
  const MatrixView<const float> heads = AttentionOutput(shape, block, x, work, past);
  if (ends_at(Tap::kAttentionOutput, heads)) return;
  ApplyLinear(block.linears[kO], heads, y, work.linear);
  if (post_norms) ApplyNorm(shape, block, kPostAttentionNorm, y, y, team);
  AddTo(h, y, team);

  ApplyNorm(shape, block, kMlpNorm, h, x, team);
  if (ends_at(Tap::kMlpInput, x)) return;
  const MatrixView<const float> hidden = MlpHidden(shape, block, x, work);
  if (ends_at(Tap::kMlpHidden, hidden)) return;
  ApplyLinear(block.linears[kDown], hidden, y, work.linear);
  if (post_norms) ApplyNorm(shape, block, kPostMlpNorm, y, y, team);
  AddTo(h, y, team);
}

}  // namespace

void AttentionForward(const BlockShape& shape, const BlockWeights& block, MatrixView<const float> x,
                      MatrixView<float> y, Workspace& work) {
  ApplyLinear(block.linears[kO], AttentionOutput(shape, block, x, work, nullptr), y, work.linear);
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
