#define QUANTREF_OPS_TABLE kAvx2Ops
#define QUANTREF_OPS_NAME "avx2"
#include "harness/kernels/vector_ops.inc"
