#include "harness/kernels/isa.h"
#include "harness/kernels/table_for.h"

namespace quantref {

const VectorOps& OpsFor(Isa isa) { return TableFor(isa, kScalarOps, kAvx2Ops, kAvx512Ops); }

const VectorOps& Ops() {
  static const VectorOps& ops = OpsFor(ActiveIsa());
  return ops;
}

}  // namespace quantref
