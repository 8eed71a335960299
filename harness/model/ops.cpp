#include "harness/model/ops.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "harness/base/check.h"
#include "harness/kernels/gemm.h"
#include "harness/kernels/isa.h"
#include "harness/kernels/quantize_activations.h"

namespace quantref {

// About 4 MB of FP32: large enough for OpenBLAS to work at its full rate, small against any model.
size_t PanelRows(size_t in) { return std::max<size_t>(64, (size_t{1} << 20) / in / 64 * 64); }

MatrixView<float> Shaped(Matrix<float>& matrix, size_t rows, size_t cols) {
  if (matrix.rows() != rows || matrix.cols() != cols) matrix = Matrix<float>(rows, cols);
  return matrix.view();
}

namespace {

void ApplyTiled(const Linear& linear, MatrixView<const float> x, MatrixView<float> y,
                LinearScratch& scratch) {
  const TiledMatrix& w = *linear.weight.tiled();
  scratch.inputs.Pack(x, linear.activations, w);
  MultiplyQuantized(scratch.inputs, w, 0, w.rows(), y, scratch.tiles);
}

void ApplyDecoded(const Linear& linear, MatrixView<const float> x, MatrixView<float> y,
                  LinearScratch& scratch) {
  const Weight& weight = linear.weight;
  if (linear.activations) {
    const MatrixView<float> rounded = Shaped(scratch.rounded, x.rows(), x.cols());
    QuantizeActivations(*linear.activations, x, rounded);
    x = rounded;
  }
  Matrix<float>& panel = scratch.panel;
  const size_t panel_rows = std::min(PanelRows(weight.cols()), weight.rows());
  if (panel.rows() * panel.cols() < panel_rows * weight.cols())
    panel = Matrix<float>(panel_rows, weight.cols());
  for (size_t first = 0; first < weight.rows(); first += panel_rows) {
    const size_t count = std::min(panel_rows, weight.rows() - first);
    const MatrixView<float> rows(panel.data(), count, weight.cols());
    weight.DecodeRows(first, rows);
    MultiplyTransposed(x, rows, y.Cols(first, count));
  }
}

}  // namespace

void ApplyLinear(const Linear& linear, MatrixView<const float> x, MatrixView<float> y,
                 LinearScratch& scratch) {
  const Weight& weight = linear.weight;
  QR_CHECK_EQ(x.cols(), weight.cols());
  QR_CHECK_EQ(y.cols(), weight.rows());
  if (weight.tiled() != nullptr) {
    ApplyTiled(linear, x, y, scratch);
  } else {
    ApplyDecoded(linear, x, y, scratch);
  }
  if (linear.bias.empty()) return;
  for (size_t t = 0; t < y.rows(); ++t) Ops().add(y.row(t), linear.bias.data(), y.cols());
}

void RmsNorm(MatrixView<const float> x, std::span<const float> gain, double eps,
             MatrixView<float> y) {
  QR_CHECK_EQ(x.cols(), gain.size());
  for (size_t t = 0; t < x.rows(); ++t) {
    Ops().rms_norm(x.row(t), gain.data(), static_cast<float>(eps), y.row(t), x.cols());
  }
}

namespace {

// The angle by which one position turns pair i, of half pairs.
double InverseFrequency(const LlamaConfig& config, size_t i) {
  const double exponent = 2.0 * static_cast<double>(i) / static_cast<double>(config.head_dim);
  const double plain = std::pow(config.rope_theta, -exponent);
  const RopeScaling& scaling = config.rope_scaling;
  if (scaling.kind == RopeScaling::Kind::kNone) return plain;
  if (scaling.kind == RopeScaling::Kind::kLinear) return plain / scaling.factor;
  // Llama 3.1: waves longer than original_context / low_freq_factor are slowed by the factor, waves
  // shorter than original_context / high_freq_factor are left alone, those between are
  // interpolated.
  const double turns = scaling.original_context * plain / (2 * std::numbers::pi);
  if (turns < scaling.low_freq_factor) return plain / scaling.factor;
  if (turns > scaling.high_freq_factor) return plain;
  const double share =
      (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor);
  return plain * (share + (1 - share) / scaling.factor);
}

}  // namespace

RopeTable::RopeTable(const LlamaConfig& config, size_t positions)
    : cosines(positions, config.head_dim / 2), sines(positions, config.head_dim / 2) {
  for (size_t i = 0; i < config.head_dim / 2; ++i) {
    const double frequency = InverseFrequency(config, i);
    for (size_t t = 0; t < positions; ++t) {
      cosines(t, i) = static_cast<float>(std::cos(static_cast<double>(t) * frequency));
      sines(t, i) = static_cast<float>(std::sin(static_cast<double>(t) * frequency));
    }
  }
}

void ApplyRope(const RopeTable& table, size_t head_dim, MatrixView<float> x) {
  QR_CHECK_LE(x.rows(), table.cosines.rows());
  for (size_t t = 0; t < x.rows(); ++t) {
    for (size_t at = 0; at < x.cols(); at += head_dim) {
      Ops().rope(x.row(t) + at, table.cosines.row(t), table.sines.row(t), head_dim / 2);
    }
  }
}

void CausalAttention(const LlamaConfig& config, MatrixView<const float> q,
                     MatrixView<const float> k, MatrixView<const float> v, Matrix<float>& scores,
                     MatrixView<float> out) {
  const VectorOps& ops = Ops();
  const size_t tokens = q.rows(), dim = config.head_dim, sharing = config.heads / config.kv_heads;
  const float scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(dim)));
  for (size_t head = 0; head < config.heads; ++head) {
    const MatrixView<const float> keys = k.Cols(head / sharing * dim, dim),
                                  values = v.Cols(head / sharing * dim, dim);
    for (size_t first = 0; first < tokens; first += kQueryTile) {
      const size_t count = std::min(kQueryTile, tokens - first), seen = first + count;
      const MatrixView<float> tile = scores.view().Rows(0, count).Cols(0, seen);
      const MatrixView<float> result = out.Rows(first, count).Cols(head * dim, dim);
      MultiplyTransposed(q.Rows(first, count).Cols(head * dim, dim), keys.Rows(0, seen), tile);
      float sums[kQueryTile];
      for (size_t t = 0; t < count; ++t) {
        const size_t visible = first + t + 1;
        sums[t] = ops.softmax_numerators(tile.row(t), scale, visible);
        std::fill(tile.row(t) + visible, tile.row(t) + seen, 0.0f);
      }
      Multiply(tile, values.Rows(0, seen), result);
      for (size_t t = 0; t < count; ++t) ops.scale(result.row(t), 1 / sums[t], dim);
    }
  }
}

}  // namespace quantref
