#pragma once

#include <cstdint>
#include <vector>

#include "harness/base/matrix.h"
#include "harness/quant/packed_matrix.h"

namespace quantref {

// The arithmetic of GPTQ (gptq.h): what is independent of plugins, knobs and records.

// What all rows of a matrix share. With H the damped Hessian in processing order and U the upper
// Cholesky factor of its inverse (H^-1 = U^T U), the paper's step for column j,
//   e = (w_j - q_j) / U_jj,   w_k = w_k - e U_jk for all k > j        (eq. 3; Algorithm 1)
// needs the ratios U_jk / U_jj only. They do not change with the unit of the inputs, so FP32 holds
// them whatever the size of H.
struct GptqFactor {
  std::vector<uint32_t> order;  // order[p]: the column that is processed p-th
  std::vector<uint32_t> dead;   // columns whose input is always 0, ascending
  Matrix<float> ratios;         // (cols, cols), by position; 1 on the diagonal, 0 below it
  double damp = 0;              // what was used: as asked for, or raised
  // Of asymmetric calibration: P (cols, cols) by position, 0 on and below the diagonal; else empty.
  Matrix<float> carried{};
};

// What GPTAQ (Li et al. 2025, arXiv:2504.02692) adds to a step. The outputs are to be those of the
// original weights on the reference's inputs R, not on X; for column j that is w_j (R_j - X_j)
// more, which later columns take over:
//   w_k = w_k + w_j P_jk for k > j,   P = alpha ((R - X) X^T U^T, above the diagonal) U
// with U as above. The paper derives alpha = 1, its authors' program has 0.25. w_j is the weight as
// it stands before it is rounded. (In the authors' program that holds within a block of columns; to
// those behind the block they add rounded weights times P, for these have taken the place of the
// others. Here the result does not depend on the block.)
struct GptqAsymmetry {
  MatrixView<const double> cross{};  // InputStatistics::cross; empty: none
  double alpha = 0.25;
};

// gram: (cols, cols), sum of x x^T, any unit. As in the paper's code, a dead column gets 1 on the
// diagonal, and then damp * mean(diagonal) is added to it. Where the matrix is not positive
// definite the damping is doubled (to 0.01 at least) until it is. act_order: columns by descending
// diagonal, those with equal ones by number; else by number. Computed in double. Throws Error where
// the diagonal is not finite or no damping up to 1000 will do.
GptqFactor Factorize(MatrixView<const double> gram, double damp, bool act_order,
                     const GptqAsymmetry& asymmetry = {});

struct GptqOptions {
  size_t block = 128;     // columns whose updates of later ones are applied together, > 0
  bool regroup = false;   // group granularity: groups are consecutive in processing order, and the
                          // grid of one is chosen when its first column is reached
  bool mse_clip = false;  // with regroup: SearchGrid in the place of ChooseGrid
  size_t threads = 1;
};

// Writes the codes of the (rows, cols) weights, whose dead columns are 0. Without regroup `packed`
// brings its grids. With it, grids are chosen here, cut at the limits (as ChooseGrids has them, by
// column: empty, or one for each row and natural group) and kept within what scales can reach; the
// caller gives `packed` the factor's order. The result does not depend on `threads`, and on `block`
// by rounding in FP32 alone (with regroup the block is made to fit the group). Throws Error where
// the weights diverge, which takes a matrix that is almost singular even when damped.
void GptqSolve(MatrixView<const float> weights, MatrixView<const float> limits,
               const GptqFactor& factor, const GptqOptions& options, PackedMatrix& packed);

}  // namespace quantref
