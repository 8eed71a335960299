#include "harness/train/linear.h"

#include <algorithm>

#include "harness/base/check.h"
#include "harness/kernels/gemm.h"
#include "harness/kernels/isa.h"

namespace quantref {

void LinearForward(MatrixView<const float> x, MatrixView<const float> w,
                   std::span<const float> bias, MatrixView<float> y) {
  MultiplyTransposed(x, w, y);
  if (bias.empty()) return;
  QR_CHECK_EQ(bias.size(), y.cols());
  for (size_t t = 0; t < y.rows(); ++t) Ops().add(y.row(t), bias.data(), y.cols());
}

void LinearBackwardInput(MatrixView<const float> dy, MatrixView<const float> w,
                         MatrixView<float> dx, bool accumulate) {
  Multiply(dy, w, dx, accumulate);
}

void LinearBackwardWeights(MatrixView<const float> x, MatrixView<const float> dy, size_t first,
                           size_t count, MatrixView<float> dw, std::span<float> db) {
  MultiplyFirstTransposed(dy.Cols(first, count), x, dw.Rows(first, count));
  if (db.empty()) return;
  QR_CHECK_EQ(db.size(), dw.rows());
  float* const sums = db.data() + first;
  std::fill_n(sums, count, 0.0f);
  for (size_t t = 0; t < dy.rows(); ++t) Ops().add(sums, dy.row(t) + first, count);
}

}  // namespace quantref
