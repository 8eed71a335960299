#define QUANTREF_OPS_TABLE kScalarOps
#define QUANTREF_OPS_NAME "scalar"
#include "harness/kernels/vector_ops.inc"
