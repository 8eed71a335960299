#include "harness/kernels/attention.h"

#include "harness/kernels/table_for.h"

namespace quantref {

const AttentionKernels& AttentionKernelsFor(Isa isa) {
  return TableFor(isa, kScalarAttention, kAvx2Attention, kAvx512Attention);
}

}  // namespace quantref
