#include "harness/kernels/quantize_activations.h"

#include <algorithm>

#include "harness/base/check.h"
#include "harness/kernels/isa.h"

namespace quantref {

void QuantizeActivations(const ActivationFormat& format, MatrixView<const float> x,
                         MatrixView<float> out) {
  QR_CHECK_EQ(x.rows(), out.rows());
  QR_CHECK_EQ(x.cols(), out.cols());
  const VectorOps& ops = Ops();
  float absmax = 0;
  if (!format.per_token) {
    for (size_t t = 0; t < x.rows(); ++t)
      absmax = std::max(absmax, ops.abs_max(x.row(t), x.cols()));
  }
  for (size_t t = 0; t < x.rows(); ++t) {
    if (format.per_token) absmax = ops.abs_max(x.row(t), x.cols());
    const float scale = format.static_scale.value_or(format.ScaleFor(absmax));
    ops.round_to_grid(x.row(t), scale, format.Limit(), out.row(t), x.cols());
  }
}

}  // namespace quantref
