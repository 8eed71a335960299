#define QUANTREF_ATTENTION_TABLE kAvx2Attention
#define QUANTREF_ATTENTION_NAME "avx2"
#include "harness/kernels/attention.inc"
