#define QUANTREF_THIN_TABLE kAvx512Thin
#define QUANTREF_THIN_NAME "avx512"
#include "harness/kernels/thin_gemm.inc"
