#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "harness/base/matrix.h"
#include "harness/base/team.h"
#include "harness/kernels/hadamard.h"
#include "harness/kernels/outlier_product.h"
#include "harness/kernels/qgemm.h"
#include "harness/model/config.h"
#include "harness/model/rope.h"
#include "harness/model/weights.h"

namespace quantref {

// The operations of a block. T = tokens of the window. With a team, the work is split into
// tiles that share no sums, in ways that leave every output's bits alone: the bits of a result are
// the same for every team, and for none.

// A view of scratch that keeps its storage as long as the shape stays the same.
MatrixView<float> Shaped(Matrix<float>& matrix, size_t rows, size_t cols);

// body(t) for each token, some at a time: for work on single rows.
template <typename F>
void ForTokens(Team* team, size_t tokens, const F& body) {
  constexpr size_t kTile = 16;
  RunOn(team, (tokens + kTile - 1) / kTile, [&](size_t tile, size_t) {
    for (size_t t = tile * kTile; t < std::min(tokens, (tile + 1) * kTile); ++t) body(t);
  });
}

// What ApplyLinear needs beside its arguments; memory is kept from call to call. `rounded`: the
// activations, where the linear rounds them; `inputs`: those of the integer kernels; `outliers`:
// what these leave to floating point.
struct LinearScratch {
  // `panel`: decoded rows of W, at most PanelRows(in); `tiles`, `outliers`: of the kernels.
  struct Worker {
    Matrix<float> panel;
    Matrix<uint8_t> tiles;
    Matrix<float> outliers;
  };
  Team* team = nullptr;
  std::vector<Worker> workers;  // as many as the team has threads, when they are needed
  Matrix<float> rounded;
  Matrix<float> adapter_low, adapter_wide;  // of a linear's adapter, both products' outputs
  QuantizedInputs inputs;
  OutlierFinder finder;
  OutlierProduct outliers;
};

// From how many tokens on ApplyLinear decodes panels of a weight that the kernels take in this form
// for FP32 products, which are faster then; nothing where it always multiplies the codes
// themselves.
std::optional<size_t> TokensToDecodeFor(const std::optional<ActivationFormat>& activations,
                                        CodeForm form);
bool MultipliesCodes(const std::optional<ActivationFormat>& activations, size_t tokens,
                     CodeForm form = CodeForm::kPlain);
// The form of a quantized weight's codes; kPlain where the kernels do not take it.
CodeForm FormOfCodes(const Weight& weight);

// y (T, out) = Q(x (T, in)) W^T + b, and what the linear's adapter adds. Through the integer
// kernels (qgemm.h) where the weight has their layout and MultipliesCodes says so; up to ThinTokens
// tokens read dense weights as they are stored (thin_gemm.h); else the weight is decoded panel by
// panel, so a layer costs no more memory than the panel. A result does not depend on how often it
// is asked for. Where the activations have an OutlierRule, these T tokens are the call that it
// speaks of.
void ApplyLinear(const Linear& linear, MatrixView<const float> x, MatrixView<float> y,
                 LinearScratch& scratch);
size_t PanelRows(size_t in);

// y = RMSNorm(x) * gain, row by row; x and y are (T, hidden) and may be the same.
void RmsNorm(MatrixView<const float> x, std::span<const float> gain, double eps,
             MatrixView<float> y, Team* team = nullptr);

// y = LayerNorm(x) * gain + bias, likewise.
void LayerNorm(MatrixView<const float> x, std::span<const float> gain, std::span<const float> bias,
               double eps, MatrixView<float> y, Team* team = nullptr);

// In place, RMSNorm * gain of each head of x (T, heads * head_dim); the gain is as wide as a head.
void NormHeads(std::span<const float> gain, double eps, MatrixView<float> x, Team* team = nullptr);

// In place, each row of x; the scratch is one a worker.
void RotateTokens(const Rotation& rotation, MatrixView<float> x,
                  std::vector<std::vector<float>>& scratch, Team* team = nullptr);

// Rotates each head of x (T, heads * head_dim), or its first channels, as many as the table has
// angles for; row t is at position first + t. local: by the table's local angles.
void ApplyRope(const RopeTable& table, size_t head_dim, MatrixView<float> x, size_t first = 0,
               Team* team = nullptr, bool local = false);

}  // namespace quantref
