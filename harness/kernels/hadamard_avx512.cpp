#define QUANTREF_HADAMARD_TABLE kAvx512Hadamard
#define QUANTREF_HADAMARD_NAME "avx512"
#include "harness/kernels/hadamard.inc"
