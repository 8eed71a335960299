#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "harness/base/matrix.h"
#include "harness/kernels/hadamard.h"
#include "harness/quant/packed_matrix.h"

// What the kernels' results are by their definitions, one number after another. Only tests include
// this.

namespace quantref::testing {

// A sum of products in double, and the sum of the products' magnitudes.
struct ExactOutput {
  double value = 0, magnitude = 0;
};
// Of x and one row of weights, both of the same size.
ExactOutput Exact(std::span<const float> x, std::span<const float> weights);

// An operand of a product, as it lies in memory.
struct Operand {
  MatrixView<const float> matrix;
  bool transposed = false;
};
// a (m, k) times b (k, n), each as it is or transposed: both matrices are (m, n).
struct ExactProduct {
  Matrix<double> value, magnitude;
};
ExactProduct MultiplyExactly(const Operand& a, const Operand& b);

// An output of thin_gemm_kernels.h: sixteen sums of fused multiply-adds, folded pairwise.
float ThinDefinition(std::span<const float> weights, std::span<const float> x);

// An output of qgemm_kernels.h from the packed matrix itself, with sums in 64 bits; `scale` is the
// token's, `limit` the largest code of its activations.
float QgemmDefinition(const PackedMatrix& w, std::span<const float> x, float scale, float limit,
                      size_t row);

// x (rows, channels) rotated as hadamard.h says, in double, with every entry of the matrix.
Matrix<float> RotateExactly(const Rotation& rotation, MatrixView<const float> x);

// (cols, rows)
Matrix<float> Transposed(MatrixView<const float> matrix);

// An output y of the other channels with outlier_product.h's; by_channel is (in, out).
float WithOutliers(float y, std::span<const float> x, const Matrix<float>& by_channel,
                   const std::vector<uint32_t>& channels, size_t output);

}  // namespace quantref::testing
