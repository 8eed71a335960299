#define QUANTREF_HADAMARD_TABLE kAvx2Hadamard
#define QUANTREF_HADAMARD_NAME "avx2"
#include "harness/kernels/hadamard.inc"
