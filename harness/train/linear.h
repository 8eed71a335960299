#pragma once

#include <span>

#include "harness/base/matrix.h"

namespace quantref {

// A linear y = x W^T + b beside its gradient: x (T, in), W (out, in), y (T, out), b empty or out
// values. Products are gemm.h's, on the calling thread: their bits follow from the shapes, so who
// parts the work by shapes alone gets the same bits from any number of threads.

void LinearForward(MatrixView<const float> x, MatrixView<const float> w,
                   std::span<const float> bias, MatrixView<float> y);

// dx (T, in) = dy W, or dx += dy W.
void LinearBackwardInput(MatrixView<const float> dy, MatrixView<const float> w,
                         MatrixView<float> dx, bool accumulate = false);

// Outputs [first, first + count) of dW (out, in) = dy^T x and db = the sum of dy over the tokens;
// db empty: there is no bias.
void LinearBackwardWeights(MatrixView<const float> x, MatrixView<const float> dy, size_t first,
                           size_t count, MatrixView<float> dw, std::span<float> db);

}  // namespace quantref
