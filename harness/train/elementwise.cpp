#include "harness/train/elementwise.h"

#include <algorithm>
#include <cmath>

#include "harness/base/check.h"
#include "harness/kernels/isa.h"

namespace quantref {
namespace {

double SumOfSquares(const float* x, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return sum;
}

void NegateSines(Matrix<float>& sines) {
  for (size_t i = 0; i < sines.rows() * sines.cols(); ++i) sines.data()[i] = -sines.data()[i];
}

}  // namespace

void RmsNormBackward(MatrixView<const float> x, std::span<const float> gain, double eps,
                     MatrixView<const float> dy, MatrixView<float> dx, std::span<float> dgain) {
  const size_t n = gain.size();
  QR_CHECK_EQ(x.cols(), n);
  QR_CHECK_EQ(dgain.size(), n);
  for (size_t t = 0; t < x.rows(); ++t) {
    const float *row = x.row(t), *dy_row = dy.row(t);
    float* const dx_row = dx.row(t);
    const double mean_square = SumOfSquares(row, n) / static_cast<double>(n);
    const auto inverse = static_cast<float>(1 / std::sqrt(mean_square + eps));
    double along = 0;  // the sum of gain dy n
    for (size_t i = 0; i < n; ++i) {
      const float normed = row[i] * inverse;
      along += static_cast<double>(gain[i] * dy_row[i]) * static_cast<double>(normed);
      dgain[i] += dy_row[i] * normed;
    }
    const auto mean = static_cast<float>(along / static_cast<double>(n));
    for (size_t i = 0; i < n; ++i)
      dx_row[i] += inverse * (gain[i] * dy_row[i] - row[i] * inverse * mean);
  }
}

void SumRows(MatrixView<const float> parts, std::span<float> gain) {
  QR_CHECK_EQ(parts.cols(), gain.size());
  std::fill(gain.begin(), gain.end(), 0.0f);
  for (size_t r = 0; r < parts.rows(); ++r) Ops().add(gain.data(), parts.row(r), gain.size());
}

RopeTable RotatedBack(const ModelConfig& config, size_t length) {
  RopeTable table(config, length);
  NegateSines(table.sines);
  NegateSines(table.local_sines);
  return table;
}

void SiluGateForward(MatrixView<const float> gate, MatrixView<const float> up,
                     MatrixView<float> hidden) {
  for (size_t t = 0; t < gate.rows(); ++t)
    Ops().silu_multiply(gate.row(t), up.row(t), hidden.row(t), gate.cols());
}

void SiluGateBackward(MatrixView<const float> dhidden, MatrixView<float> gate,
                      MatrixView<float> up) {
  constexpr size_t kPiece = 256;
  float ones[kPiece], silu[kPiece];
  std::fill_n(ones, kPiece, 1.0f);
  for (size_t t = 0; t < gate.rows(); ++t) {
    for (size_t first = 0; first < gate.cols(); first += kPiece) {
      const size_t count = std::min(kPiece, gate.cols() - first);
      float *g = gate.row(t) + first, *u = up.row(t) + first;
      const float* d = dhidden.row(t) + first;
      Ops().silu_multiply(g, ones, silu, count);
      for (size_t i = 0; i < count; ++i) {
        const float sigmoid = g[i] == 0 ? 0.5f : silu[i] / g[i];
        g[i] = d[i] * u[i] * (sigmoid + silu[i] * (1 - sigmoid));
        u[i] = d[i] * silu[i];
      }
    }
  }
}

void EmbeddingBackward(std::span<const uint32_t> ids, MatrixView<const float> dh,
                       MatrixView<float> dtable) {
  for (size_t t = 0; t < ids.size(); ++t) Ops().add(dtable.row(ids[t]), dh.row(t), dh.cols());
}

}  // namespace quantref
