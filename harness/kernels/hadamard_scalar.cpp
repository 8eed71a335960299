#define QUANTREF_HADAMARD_TABLE kScalarHadamard
#define QUANTREF_HADAMARD_NAME "scalar"
#include "harness/kernels/hadamard.inc"
