#pragma once

#include "harness/base/matrix.h"
#include "harness/quant/activation.h"

namespace quantref {

// out = the activations x (T, in) on the format's grid; out may be x.
void QuantizeActivations(const ActivationFormat& format, MatrixView<const float> x,
                         MatrixView<float> out);

}  // namespace quantref
