#define QUANTREF_ATTENTION_TABLE kAvx512Attention
#define QUANTREF_ATTENTION_NAME "avx512"
#include "harness/kernels/attention.inc"
