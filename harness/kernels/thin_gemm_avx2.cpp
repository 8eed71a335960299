#define QUANTREF_THIN_TABLE kAvx2Thin
#define QUANTREF_THIN_NAME "avx2"
#include "harness/kernels/thin_gemm.inc"
