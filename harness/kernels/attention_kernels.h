#pragma once

#include <cstddef>

// Included by files compiled for other instruction sets: plain types and declarations only, as
// vector_ops.h explains.

namespace quantref {

// The two products of attention in tiles: a group of queries with sixteen keys, and their weights
// with sixteen channels of the values. One table an instruction set. Every sum is one of fused
// multiply-adds in increasing order from 0, so that all tables give the same bits, whatever stands
// beside an element.
struct AttentionKernels {
  static constexpr size_t kMostQueries = 12;

  const char* name;
  size_t queries;  // of a group, at most kMostQueries

  // scores[g * stride + i] = sum_c queries[c * `queries` + g] * keys[c * 16 + i] over the channels.
  void (*scores)(const float* queries, const float* keys, size_t channels, float* scores,
                 size_t stride);
  // mixed[g * 16 + i] = sum_s weights[g * stride + s] * values[s * 16 + i] over the keys.
  void (*mix)(const float* weights, size_t stride, const float* values, size_t keys, float* mixed);
};

extern const AttentionKernels kScalarAttention;
extern const AttentionKernels kAvx2Attention;
extern const AttentionKernels kAvx512Attention;

}  // namespace quantref
