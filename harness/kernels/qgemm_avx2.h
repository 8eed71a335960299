#pragma once

#include <cstddef>

#include "harness/kernels/qgemm_kernels.h"

namespace quantref {

// QgemmOps::pack_token of AVX2.
void PackTokenAvx2(const float* x, const QgemmRounding& rounding, const QgemmWeights& weights,
                   const QgemmInputs& inputs, size_t token);

}  // namespace quantref
