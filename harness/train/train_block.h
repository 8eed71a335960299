#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <vector>

#include "harness/base/matrix.h"
#include "harness/base/team.h"
#include "harness/model/block.h"
#include "harness/model/config.h"
#include "harness/train/attention_backward.h"

namespace quantref {

// A block's forward over a batch of windows, all at once, and its backward. Both part their work by
// shapes alone (tiles of tokens, windows and heads, tiles of a matrix's rows) and add up in a fixed
// order: the bits are the same for any number of threads.

// Throws Error, naming what, where a model has parts that have no backward here: a family's norms,
// activations, fused matrices, caps or learned positions.
void CheckTrainable(const ModelConfig& config);

// Windows of equal length, one behind the other: rows of (tokens(), ...) matrices.
struct BatchShape {
  size_t windows, length;
  size_t tokens() const { return windows * length; }
};

// What a block is computed with, by the indices of config.h; empty where the layout has no such
// part. Of weights that are rounded: the rounded ones.
struct BlockValues {
  std::array<std::span<const float>, kNorms> norms;
  std::array<MatrixView<const float>, kLinears> weights;
  std::array<std::span<const float>, kLinears> biases;
};

// Where the gradients of the same go, which are overwritten. A matrix without weights here gets
// none, nor does its bias.
struct BlockGradients {
  std::array<std::span<float>, kNorms> norms;
  std::array<MatrixView<float>, kLinears> weights;
  std::array<std::span<float>, kLinears> biases;
};

// Tables of the batch's length: of the rotation, and of that back (RotatedBack).
struct Rotations {
  RopeTable there, back;
  Rotations(const ModelConfig& config, size_t length);
};

// What a block's parts give, (tokens, ...) each, and the gradients of it: of one block at a time.
struct TrainWorkspace {
  explicit TrainWorkspace(Team* with) : team(with) {}

  Team* team;
  Matrix<float> attention_in, q, k, v, heads, middle, mlp_in, gate, up, hidden;
  Matrix<float> d_hidden, d_in, d_middle, d_heads, d_q, d_k, d_v;
  Matrix<float> gain_parts;  // of each tile of tokens
  std::vector<AttentionScratch> attending;
  std::vector<AttentionBackwardScratch> attending_back;
};

// h (tokens, hidden) = the block's output for the input h.
void BatchForward(const ModelConfig& config, size_t layer, const Rotations& rotations,
                  const BlockValues& values, const BatchShape& batch, MatrixView<float> h,
                  TrainWorkspace& work);

// dh (tokens, hidden): the gradient of the block's output becomes that of its input h. What the
// forward made on its way is made again.
void BatchBackward(const ModelConfig& config, size_t layer, const Rotations& rotations,
                   const BlockValues& values, const BatchShape& batch, MatrixView<const float> h,
                   MatrixView<float> dh, const BlockGradients& gradients, TrainWorkspace& work);

// body(first, count, worker) for tiles of tokens, and of a matrix's rows, on the team's threads.
inline constexpr size_t kTokenTile = 256, kRowTile = 256;
template <typename F>
void ForTokenTiles(Team* team, size_t tokens, const F& body) {
  RunOn(team, (tokens + kTokenTile - 1) / kTokenTile, [&](size_t tile, size_t worker) {
    const size_t first = tile * kTokenTile;
    body(first, std::min(kTokenTile, tokens - first), worker);
  });
}

}  // namespace quantref
