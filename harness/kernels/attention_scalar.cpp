#define QUANTREF_ATTENTION_TABLE kScalarAttention
#define QUANTREF_ATTENTION_NAME "scalar"
#include "harness/kernels/attention.inc"
