#define QUANTREF_OPS_TABLE kAvx512Ops
#define QUANTREF_OPS_NAME "avx512"
#include "harness/kernels/vector_ops.inc"
