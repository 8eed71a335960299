#define QUANTREF_THIN_TABLE kScalarThin
#define QUANTREF_THIN_NAME "scalar"
#include "harness/kernels/thin_gemm.inc"
