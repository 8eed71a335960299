#pragma once

#include <cstdint>
#include <span>

#include "harness/base/matrix.h"
#include "harness/quant/activation.h"

namespace quantref {

// out = the activations x (T, in) on the format's grid; out may be x. Of another format than `int`
// a static scale is that of all numbers or, where the format has E4M3 scales, the divisor of the
// scales of groups, which are made of the data; and the values of a group are NaN where one of its
// numbers is not finite. outliers: channels of x, ascending, that stay as they are, as the format's
// rule says (outlier_product.h).
void QuantizeActivations(const ActivationFormat& format, MatrixView<const float> x,
                         MatrixView<float> out, std::span<const uint32_t> outliers = {});

}  // namespace quantref
