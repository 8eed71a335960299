#pragma once

#include <optional>

#include "harness/base/matrix.h"
#include "harness/base/rng.h"
#include "harness/kernels/thin_gemm.h"
#include "harness/kernels/tiled_matrix.h"
#include "harness/quant/activation.h"

namespace quantref {

// Whether a product came out right, told from a seeded sample of its outputs: what is timed is
// checked first.

// y (T, out) = Q(x (T, in)) W^T of the integer kernels: whether some tokens of some panels, the
// first and the last among them, have the bits of the scalar reference. format: nullopt for FP32
// activations. outlier_weights: as OutlierProduct's by_channel.
bool EqualsReference(MatrixView<const float> x, const std::optional<ActivationFormat>& format,
                     const TiledMatrix& w, MatrixView<const float> y, Rng& rng,
                     const std::optional<DenseRows>& outlier_weights = std::nullopt);

// y (T, out) = x W^T in FP32: the largest error, among some outputs, as a share of the sum of its
// terms' magnitudes, against sums in double; NaN where one of them is.
double SampledError(MatrixView<const float> x, const DenseRows& w, MatrixView<const float> y,
                    Rng& rng);

// What SampledError may be with sums of `terms` products in FP32, in any order: roundings of either
// sign add up to sqrt(terms) of them (Higham and Mary 2019), times 4. An output that lacks one
// term of usual size is beyond it.
double ErrorBound(size_t terms);

}  // namespace quantref
