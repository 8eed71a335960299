#include "harness/kernels/attention.h"

#include "harness/base/check.h"

namespace quantref {

const AttentionKernels& AttentionKernelsFor(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return kScalarAttention;
    case Isa::kAvx2:
      return kAvx2Attention;
    case Isa::kAvx512:
    case Isa::kAmx:
      return kAvx512Attention;
  }
  QR_CHECK(false);
  return kScalarAttention;
}

}  // namespace quantref
