#include "harness/train/attention_backward.h"

#include <algorithm>
#include <cmath>

#include "harness/base/check.h"
#include "harness/kernels/gemm.h"
#include "harness/kernels/isa.h"

namespace quantref {
namespace {

constexpr size_t kQueriesOfTile = 128;

// One query head with the keys and values that it reads.
struct HeadTrace {
  MatrixView<const float> q, k, v, out, dout;
  MatrixView<float> dq, dk, dv;
  float scale;
  size_t window;  // keys that a query sees at most

  size_t FirstKey(size_t position) const { return position < window ? 0 : position - window + 1; }
};

MatrixView<float> Reshaped(Matrix<float>& matrix, size_t rows, size_t cols) {
  if (matrix.rows() * matrix.cols() < rows * cols) matrix = Matrix<float>(rows, cols);
  return {matrix.data(), rows, cols};
}

// Scores of queries from `first` on to the keys from `base` on become weights: those of keys that a
// query does not see are 0.
void Weigh(const HeadTrace& head, size_t first, size_t base, MatrixView<float> scores) {
  for (size_t t = 0; t < scores.rows(); ++t) {
    const size_t position = first + t, begin = head.FirstKey(position) - base;
    const size_t end = position + 1 - base;
    float* const row = scores.row(t);
    std::fill(row, row + begin, 0.0f);
    const float sum = Ops().softmax_numerators(row + begin, head.scale, end - begin);
    Ops().scale(row + begin, 1 / sum, end - begin);
    std::fill(row + end, row + scores.cols(), 0.0f);
  }
}

float Dot(const float* a, const float* b, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return static_cast<float>(sum);
}

// Gradients of the weights become those of the products q k^T.
void ThroughSoftmax(const HeadTrace& head, size_t first, MatrixView<const float> weights,
                    MatrixView<float> gradients) {
  for (size_t t = 0; t < weights.rows(); ++t) {
    const float along = Dot(head.dout.row(first + t), head.out.row(first + t), head.out.cols());
    const float* const weight = weights.row(t);
    float* const gradient = gradients.row(t);
    for (size_t s = 0; s < weights.cols(); ++s)
      gradient[s] = head.scale * weight[s] * (gradient[s] - along);
  }
}

void TileBackward(const HeadTrace& head, size_t first, size_t count,
                  AttentionBackwardScratch& scratch) {
  const size_t base = head.FirstKey(first), keys = first + count - base;
  const MatrixView<float> weights = Reshaped(scratch.weights, count, keys);
  const MatrixView<float> gradients = Reshaped(scratch.gradients, count, keys);
  const MatrixView<const float> q = head.q.Rows(first, count), k = head.k.Rows(base, keys);
  const MatrixView<const float> v = head.v.Rows(base, keys), dout = head.dout.Rows(first, count);
  MultiplyTransposed(q, k, weights);
  Weigh(head, first, base, weights);
  MultiplyTransposed(dout, v, gradients);
  MultiplyFirstTransposed(weights, dout, head.dv.Rows(base, keys), true);
  ThroughSoftmax(head, first, weights, gradients);
  Multiply(gradients, k, head.dq.Rows(first, count));
  MultiplyFirstTransposed(gradients, q, head.dk.Rows(base, keys), true);
}

void Clear(MatrixView<float> matrix) {
  for (size_t r = 0; r < matrix.rows(); ++r) std::fill_n(matrix.row(r), matrix.cols(), 0.0f);
}

}  // namespace

void AttentionBackward(const AttentionShape& shape, size_t kv_head, const AttentionTrace& trace,
                       const AttentionGradient& gradient, AttentionBackwardScratch& scratch) {
  QR_CHECK_EQ(shape.softcap, 0.0);
  const size_t dim = shape.head_dim, sharing = shape.heads / shape.kv_heads, at = kv_head * dim;
  const double scale = shape.scale > 0 ? shape.scale : 1 / std::sqrt(static_cast<double>(dim));
  const size_t tokens = trace.q.rows();
  Clear(gradient.dk.Cols(at, dim));
  Clear(gradient.dv.Cols(at, dim));
  for (size_t h = kv_head * sharing; h < (kv_head + 1) * sharing; ++h) {
    const HeadTrace head = {.q = trace.q.Cols(h * dim, dim),
                            .k = trace.k.Cols(at, dim),
                            .v = trace.v.Cols(at, dim),
                            .out = trace.out.Cols(h * dim, dim),
                            .dout = trace.dout.Cols(h * dim, dim),
                            .dq = gradient.dq.Cols(h * dim, dim),
                            .dk = gradient.dk.Cols(at, dim),
                            .dv = gradient.dv.Cols(at, dim),
                            .scale = static_cast<float>(scale),
                            .window = shape.window == 0 ? tokens : shape.window};
    for (size_t first = 0; first < tokens; first += kQueriesOfTile)
      TileBackward(head, first, std::min(kQueriesOfTile, tokens - first), scratch);
  }
}

}  // namespace quantref
