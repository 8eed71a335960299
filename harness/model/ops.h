#pragma once

#include <span>

#include "harness/base/matrix.h"
#include "harness/kernels/qgemm.h"
#include "harness/model/config.h"
#include "harness/model/weights.h"

namespace quantref {

// The operations of a LLaMA block. T = tokens of the window.

// A view of scratch that keeps its storage as long as the shape stays the same.
MatrixView<float> Shaped(Matrix<float>& matrix, size_t rows, size_t cols);

// What ApplyLinear needs of memory; kept from call to call. `panel`: PanelRows(in) decoded rows of
// W; `rounded`: the activations, where the linear rounds them; `inputs`, `tiles`: of the integer
// kernels.
struct LinearScratch {
  Matrix<float> panel, rounded;
  QuantizedInputs inputs;
  Matrix<uint8_t> tiles;
};

// y (T, out) = Q(x (T, in)) W^T + b. Through the integer kernels (qgemm.h) where the weight has
// their layout; else the weight is decoded panel by panel, so a layer costs no more memory than the
// panel, and a result does not depend on how often it is asked for.
void ApplyLinear(const Linear& linear, MatrixView<const float> x, MatrixView<float> y,
                 LinearScratch& scratch);
size_t PanelRows(size_t in);

// y = RMSNorm(x) * gain, row by row; x and y are (T, hidden) and may be the same.
void RmsNorm(MatrixView<const float> x, std::span<const float> gain, double eps,
             MatrixView<float> y);

// Cosines and sines of every position's rotation angles, (positions, head_dim / 2) each.
struct RopeTable {
  RopeTable(const LlamaConfig& config, size_t positions);
  Matrix<float> cosines, sines;
};

// Rotates each head of x (T, heads * head_dim); row t is at position t.
void ApplyRope(const RopeTable& table, size_t head_dim, MatrixView<float> x);

// Causal attention within the window, grouped queries: query head h reads key/value head h / (heads
// / kv_heads). q, out: (T, heads * head_dim); k, v: (T, kv_heads * head_dim). `scores` is scratch
// of (kQueryTile, T).
inline constexpr size_t kQueryTile = 256;
void CausalAttention(const LlamaConfig& config, MatrixView<const float> q,
                     MatrixView<const float> k, MatrixView<const float> v, Matrix<float>& scores,
                     MatrixView<float> out);

}  // namespace quantref
