#pragma once

#include "harness/kernels/attention_kernels.h"
#include "harness/kernels/isa.h"

namespace quantref {

const AttentionKernels& AttentionKernelsFor(Isa isa);  // AMX has none of its own: AVX-512's

}  // namespace quantref
