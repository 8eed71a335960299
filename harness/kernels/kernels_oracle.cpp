#include "harness/kernels/kernels_oracle.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "harness/kernels/hadamard_matrix.h"
#include "harness/kernels/qgemm_kernels.h"
#include "harness/quant/affine.h"

namespace quantref::testing {
namespace {

// (rows, cols) of the operand, transposed or not.
Matrix<double> Rows(const MatrixView<const float>& matrix, bool transposed) {
  Matrix<double> rows(transposed ? matrix.cols() : matrix.rows(),
                      transposed ? matrix.rows() : matrix.cols());
  for (size_t r = 0; r < rows.rows(); ++r) {
    for (size_t c = 0; c < rows.cols(); ++c)
      rows(r, c) = static_cast<double>(transposed ? matrix(c, r) : matrix(r, c));
  }
  return rows;
}

// Row i of a Hadamard matrix: core (x) Sylvester.
std::vector<double> HadamardRow(size_t order, size_t i) {
  const size_t core = *HadamardCore(order), power = order / core;
  const float* const of_core = core == 1 ? nullptr : HadamardCoreMatrix(core).row(i / power);
  std::vector<double> row(order);
  for (size_t j = 0; j < order; ++j) {
    const double entry = of_core == nullptr ? 1 : static_cast<double>(of_core[j / power]);
    const bool odd = std::popcount((i % power) & (j % power)) % 2 != 0;
    row[j] = odd ? -entry : entry;
  }
  return row;
}

}  // namespace

ExactOutput Exact(std::span<const float> x, std::span<const float> weights) {
  ExactOutput exact;
  for (size_t k = 0; k < x.size(); ++k) {
    const double term = static_cast<double>(x[k]) * static_cast<double>(weights[k]);
    exact.value += term;
    exact.magnitude += std::fabs(term);
  }
  return exact;
}

ExactProduct MultiplyExactly(const Operand& a, const Operand& b) {
  const Matrix<double> left = Rows(a.matrix, a.transposed), right = Rows(b.matrix, !b.transposed);
  const size_t terms = left.cols();
  ExactProduct product{Matrix<double>(left.rows(), right.rows()),
                       Matrix<double>(left.rows(), right.rows())};
  for (size_t i = 0; i < left.rows(); ++i) {
    for (size_t j = 0; j < right.rows(); ++j) {
      const double *x = left.row(i), *y = right.row(j);
      double value = 0, magnitude = 0;
      for (size_t p = 0; p < terms; ++p) {
        value += x[p] * y[p];
        magnitude += std::fabs(x[p] * y[p]);
      }
      product.value(i, j) = value;
      product.magnitude(i, j) = magnitude;
    }
  }
  return product;
}

float ThinDefinition(std::span<const float> weights, std::span<const float> x) {
  float sums[16] = {};
  for (size_t i = 0; i < (weights.size() + 15) / 16 * 16; ++i) {
    sums[i % 16] =
        std::fma(i < weights.size() ? weights[i] : 0.0f, i < x.size() ? x[i] : 0.0f, sums[i % 16]);
  }
  for (size_t width = 8; width > 0; width /= 2) {
    for (size_t i = 0; i < width; ++i) sums[i] += sums[i + width];
  }
  return sums[0];
}

float QgemmDefinition(const PackedMatrix& w, std::span<const float> x, float scale, float limit,
                      size_t row) {
  std::vector<uint8_t> codes(w.cols());
  w.GetCodes(row, codes);
  const ScaleShape& shape = w.scales();
  float c = 0;
  for (size_t g = 0; g < shape.cols; ++g) {
    const Affine affine = w.affine(shape.RowOf(row), g);
    int64_t digits[kMaxDigits] = {};
    for (size_t k = shape.Begin(g); k < shape.End(g); ++k) {
      const float value = x[w.order().empty() ? k : w.order()[k]] / scale;
      int64_t code = scale > 0 ? std::llrint(std::fmax(-limit, std::fmin(limit, value))) : 0;
      for (int64_t& digit : digits) {
        // Balanced: -128..127, the rest goes up.
        const int64_t low = limit < 128 ? code : ((code + 128) & 255) - 128;
        digit += low * (codes[k] - affine.zero);
        code = (code - low) / 256;
      }
    }
    const auto d = [&](size_t i) { return static_cast<float>(digits[i]); };
    const float f = limit < 128 ? d(0) : std::fma(65536.0f, d(2), std::fma(256.0f, d(1), d(0)));
    c = std::fma(affine.scale, f, c);
  }
  return scale * c;
}

Matrix<float> RotateExactly(const Rotation& rotation, MatrixView<const float> x) {
  Matrix<float> y(x.rows(), x.cols());
  const size_t n = rotation.order, stride = rotation.stride, piece = n * stride;
  for (size_t row = 0; row < n; ++row) {
    const std::vector<double> entries = HadamardRow(n, row);
    for (size_t first = 0; first < x.cols(); first += piece) {
      for (size_t i = 0; i < x.rows() * stride; ++i) {
        const size_t r = i / stride, channel = first + i % stride;
        double sum = 0;
        for (size_t j = 0; j < n; ++j)
          sum += entries[j] * static_cast<double>(x(r, channel + j * stride));
        y(r, channel + row * stride) = static_cast<float>(sum / std::sqrt(static_cast<double>(n)));
      }
    }
  }
  return y;
}

Matrix<float> Transposed(MatrixView<const float> matrix) {
  Matrix<float> transposed(matrix.cols(), matrix.rows());
  for (size_t r = 0; r < matrix.rows(); ++r) {
    for (size_t c = 0; c < matrix.cols(); ++c) transposed(c, r) = matrix(r, c);
  }
  return transposed;
}

float WithOutliers(float y, std::span<const float> x, const Matrix<float>& by_channel,
                   const std::vector<uint32_t>& channels, size_t output) {
  for (size_t first = 0; first < channels.size(); first += 128) {
    float sum = 0;
    for (size_t k = first; k < std::min(first + 128, channels.size()); ++k)
      sum = std::fma(x[channels[k]], by_channel(channels[k], output), sum);
    y += sum;
  }
  return y;
}

}  // namespace quantref::testing
