#include "harness/train/train_block.h"

#include <fmt/format.h>

#include <algorithm>

#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/kernels/isa.h"
#include "harness/model/layout.h"
#include "harness/model/ops.h"
#include "harness/train/elementwise.h"
#include "harness/train/linear.h"

namespace quantref {
namespace {

// One block at work: what all of its parts need.
struct BlockPass {
  const ModelConfig& config;
  const size_t layer;
  const Rotations& rotations;
  const BlockValues& values;
  const BatchShape& batch;
  TrainWorkspace& work;

  AttentionShape attends() const { return AttentionOf(config, layer); }
  bool local() const { return config.layers[layer].local_rope; }
  size_t tokens() const { return batch.tokens(); }

  void Linear(LinearIndex index, MatrixView<const float> x, MatrixView<float> y) const {
    LinearForward(x, values.weights[index], values.biases[index], y);
  }
  void Norm(NormIndex index, MatrixView<const float> x, MatrixView<float> y) const {
    RmsNorm(x, values.norms[index], config.rms_eps, y);
  }
};

// Room for what the forward makes.
void Shape(const BlockPass& pass) {
  TrainWorkspace& work = pass.work;
  const AttentionShape attends = pass.attends();
  const size_t tokens = pass.tokens(), hidden = pass.config.hidden;
  const size_t q = attends.heads * attends.head_dim, kv = attends.kv_heads * attends.head_dim;
  for (Matrix<float>* matrix : {&work.attention_in, &work.middle, &work.mlp_in})
    Shaped(*matrix, tokens, hidden);
  Shaped(work.q, tokens, q);
  Shaped(work.heads, tokens, q);
  for (Matrix<float>* matrix : {&work.k, &work.v}) Shaped(*matrix, tokens, kv);
  for (Matrix<float>* matrix : {&work.gate, &work.up, &work.hidden})
    Shaped(*matrix, tokens, pass.config.intermediate);
}

void ProjectAttention(const BlockPass& pass, MatrixView<const float> h) {
  TrainWorkspace& work = pass.work;
  ForTokenTiles(work.team, pass.tokens(), [&](size_t first, size_t count, size_t) {
    const MatrixView<float> x = work.attention_in.view().Rows(first, count);
    pass.Norm(kAttentionNorm, h.Rows(first, count), x);
    pass.Linear(kQ, x, work.q.view().Rows(first, count));
    pass.Linear(kK, x, work.k.view().Rows(first, count));
    pass.Linear(kV, x, work.v.view().Rows(first, count));
  });
}

// Each window by itself: positions begin again.
void Attend(const BlockPass& pass) {
  TrainWorkspace& work = pass.work;
  const size_t length = pass.batch.length, dim = pass.config.head_dim;
  for (size_t w = 0; w < pass.batch.windows; ++w) {
    const auto of_window = [&](Matrix<float>& matrix) {
      return matrix.view().Rows(w * length, length);
    };
    ApplyRope(pass.rotations.there, dim, of_window(work.q), 0, work.team, pass.local());
    ApplyRope(pass.rotations.there, dim, of_window(work.k), 0, work.team, pass.local());
    CausalAttention(pass.attends(), of_window(work.q), of_window(work.k), of_window(work.v),
                    work.attending, of_window(work.heads), work.team);
  }
}

// From the heads' outputs to what the block's last linear reads.
void ToMlpHidden(const BlockPass& pass, MatrixView<const float> h) {
  TrainWorkspace& work = pass.work;
  ForTokenTiles(work.team, pass.tokens(), [&](size_t first, size_t count, size_t) {
    const auto tile = [&](Matrix<float>& matrix) { return matrix.view().Rows(first, count); };
    const MatrixView<float> middle = tile(work.middle);
    pass.Linear(kO, tile(work.heads), middle);
    for (size_t t = 0; t < count; ++t) Ops().add(middle.row(t), h.row(first + t), h.cols());
    pass.Norm(kMlpNorm, middle, tile(work.mlp_in));
    pass.Linear(kGate, tile(work.mlp_in), tile(work.gate));
    pass.Linear(kUp, tile(work.mlp_in), tile(work.up));
    SiluGateForward(tile(work.gate), tile(work.up), tile(work.hidden));
  });
}

// All of the forward but its last linear.
void MakeActivations(const BlockPass& pass, MatrixView<const float> h) {
  Shape(pass);
  ProjectAttention(pass, h);
  Attend(pass);
  ToMlpHidden(pass, h);
}

std::span<float> GainPart(const BlockPass& pass, size_t first_token) {
  float* const part = pass.work.gain_parts.row(first_token / kTokenTile);
  std::fill_n(part, pass.config.hidden, 0.0f);
  return {part, pass.config.hidden};
}

// From the block's output to the heads' outputs: d_middle, d_heads; gate and up become their
// gradients.
void MlpBackward(const BlockPass& pass, MatrixView<const float> dh, std::span<float> gain) {
  TrainWorkspace& work = pass.work;
  ForTokenTiles(work.team, pass.tokens(), [&](size_t first, size_t count, size_t) {
    const auto tile = [&](Matrix<float>& matrix) { return matrix.view().Rows(first, count); };
    const MatrixView<const float> dy = dh.Rows(first, count);
    LinearBackwardInput(dy, pass.values.weights[kDown], tile(work.d_hidden));
    SiluGateBackward(tile(work.d_hidden), tile(work.gate), tile(work.up));
    LinearBackwardInput(tile(work.gate), pass.values.weights[kGate], tile(work.d_in));
    LinearBackwardInput(tile(work.up), pass.values.weights[kUp], tile(work.d_in), true);
    const MatrixView<float> d_middle = tile(work.d_middle);
    for (size_t t = 0; t < count; ++t) std::copy_n(dy.row(t), dy.cols(), d_middle.row(t));
    RmsNormBackward(tile(work.middle), pass.values.norms[kMlpNorm], pass.config.rms_eps,
                    tile(work.d_in), d_middle, GainPart(pass, first));
    LinearBackwardInput(d_middle, pass.values.weights[kO], tile(work.d_heads));
  });
  SumRows(work.gain_parts.view(), gain);
}

void AttendBackward(const BlockPass& pass) {
  TrainWorkspace& work = pass.work;
  const AttentionShape attends = pass.attends();
  const size_t length = pass.batch.length;
  if (work.attending_back.size() < TeamThreads(work.team))
    work.attending_back.resize(TeamThreads(work.team));
  RunOn(work.team, pass.batch.windows * attends.kv_heads, [&](size_t index, size_t worker) {
    const size_t w = index / attends.kv_heads;
    const auto of_window = [&](Matrix<float>& matrix) {
      return matrix.view().Rows(w * length, length);
    };
    AttentionBackward(
        attends, index % attends.kv_heads,
        {.q = of_window(work.q),
         .k = of_window(work.k),
         .v = of_window(work.v),
         .out = of_window(work.heads),
         .dout = of_window(work.d_heads)},
        {.dq = of_window(work.d_q), .dk = of_window(work.d_k), .dv = of_window(work.d_v)},
        work.attending_back[worker]);
  });
  for (size_t w = 0; w < pass.batch.windows; ++w) {
    for (Matrix<float>* matrix : {&work.d_q, &work.d_k}) {
      ApplyRope(pass.rotations.back, pass.config.head_dim, matrix->view().Rows(w * length, length),
                0, work.team, pass.local());
    }
  }
}

// dh = d_middle and what comes through q, k, v and the first norm.
void AttentionInputBackward(const BlockPass& pass, MatrixView<const float> h, MatrixView<float> dh,
                            std::span<float> gain) {
  TrainWorkspace& work = pass.work;
  ForTokenTiles(work.team, pass.tokens(), [&](size_t first, size_t count, size_t) {
    const auto tile = [&](Matrix<float>& matrix) { return matrix.view().Rows(first, count); };
    LinearBackwardInput(tile(work.d_q), pass.values.weights[kQ], tile(work.d_in));
    LinearBackwardInput(tile(work.d_k), pass.values.weights[kK], tile(work.d_in), true);
    LinearBackwardInput(tile(work.d_v), pass.values.weights[kV], tile(work.d_in), true);
    const MatrixView<float> dx = dh.Rows(first, count);
    for (size_t t = 0; t < count; ++t)
      std::copy_n(work.d_middle.row(first + t), dx.cols(), dx.row(t));
    RmsNormBackward(h.Rows(first, count), pass.values.norms[kAttentionNorm], pass.config.rms_eps,
                    tile(work.d_in), dx, GainPart(pass, first));
  });
  SumRows(work.gain_parts.view(), gain);
}

// A linear with what it read and the gradient of what it gave.
struct LinearTrace {
  LinearIndex index;
  const Matrix<float>& x;
  MatrixView<const float> dy;
};

// Gradients of several matrices at the same time, a tile of rows each.
void WeightGradients(const BlockPass& pass, std::initializer_list<LinearTrace> linears,
                     const BlockGradients& gradients) {
  struct Piece {
    const LinearTrace* linear;
    size_t first, count;
  };
  std::vector<Piece> pieces;
  for (const LinearTrace& linear : linears) {
    if (gradients.weights[linear.index].empty()) continue;
    const size_t rows = linear.dy.cols();
    for (size_t first = 0; first < rows; first += kRowTile)
      pieces.push_back({&linear, first, std::min(kRowTile, rows - first)});
  }
  RunOn(pass.work.team, pieces.size(), [&](size_t i, size_t) {
    const auto& [linear, first, count] = pieces[i];
    LinearBackwardWeights(linear->x.view(), linear->dy, first, count,
                          gradients.weights[linear->index], gradients.biases[linear->index]);
  });
}

void ShapeBackward(const BlockPass& pass) {
  TrainWorkspace& work = pass.work;
  const size_t tokens = pass.tokens(), hidden = pass.config.hidden;
  Shaped(work.d_hidden, tokens, pass.config.intermediate);
  Shaped(work.d_in, tokens, hidden);
  Shaped(work.d_middle, tokens, hidden);
  for (const auto& [to, like] : {std::pair{&work.d_heads, &work.heads},
                                 {&work.d_q, &work.q},
                                 {&work.d_k, &work.k},
                                 {&work.d_v, &work.v}})
    Shaped(*to, tokens, like->cols());
  Shaped(work.gain_parts, (tokens + kTokenTile - 1) / kTokenTile, hidden);
}

}  // namespace

void CheckTrainable(const ModelConfig& config) {
  const Family& family = *config.family;
  const char* const missing = family.norm != Family::Norm::kRms                ? "its norms"
                              : family.activation != Family::Activation::kSilu ? "its activation"
                              : !family.gated            ? "an MLP without a gate"
                              : family.fused             ? "fused matrices"
                              : family.qk_norms          ? "norms of queries and keys"
                              : family.post_norms        ? "norms behind its modules"
                              : family.scaled_embedding  ? "scaled embeddings"
                              : family.learned_positions ? "learned positions"
                              : config.attention_softcap > 0 || config.final_softcap > 0 ? "caps"
                                                                                         : nullptr;
  if (missing == nullptr) return;
  throw Error(fmt::format("a model of type {} cannot be trained: {} have no backward pass",
                          config.model_type, missing),
              "training", "trained are llama, mistral and qwen2");
}

Rotations::Rotations(const ModelConfig& config, size_t length)
    : there(config, length), back(RotatedBack(config, length)) {}

void BatchForward(const ModelConfig& config, size_t layer, const Rotations& rotations,
                  const BlockValues& values, const BatchShape& batch, MatrixView<float> h,
                  TrainWorkspace& work) {
  const BlockPass pass{config, layer, rotations, values, batch, work};
  QR_CHECK_EQ(h.rows(), batch.tokens());
  MakeActivations(pass, h);
  ForTokenTiles(work.team, batch.tokens(), [&](size_t first, size_t count, size_t) {
    const MatrixView<float> y = h.Rows(first, count);
    pass.Linear(kDown, work.hidden.view().Rows(first, count), y);
    for (size_t t = 0; t < count; ++t) Ops().add(y.row(t), work.middle.row(first + t), y.cols());
  });
}

void BatchBackward(const ModelConfig& config, size_t layer, const Rotations& rotations,
                   const BlockValues& values, const BatchShape& batch, MatrixView<const float> h,
                   MatrixView<float> dh, const BlockGradients& gradients, TrainWorkspace& work) {
  const BlockPass pass{config, layer, rotations, values, batch, work};
  MakeActivations(pass, h);
  ShapeBackward(pass);
  MlpBackward(pass, dh, gradients.norms[kMlpNorm]);
  WeightGradients(pass,
                  {{kDown, work.hidden, dh},
                   {kGate, work.mlp_in, work.gate.view()},
                   {kUp, work.mlp_in, work.up.view()},
                   {kO, work.heads, work.d_middle.view()}},
                  gradients);
  AttendBackward(pass);
  AttentionInputBackward(pass, h, dh, gradients.norms[kAttentionNorm]);
  WeightGradients(pass,
                  {{kQ, work.attention_in, work.d_q.view()},
                   {kK, work.attention_in, work.d_k.view()},
                   {kV, work.attention_in, work.d_v.view()}},
                  gradients);
}

}  // namespace quantref
