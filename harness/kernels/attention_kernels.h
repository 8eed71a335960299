#pragma once

#include <cstddef>
#include <cstdint>

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

  // Of a rounded cache's blocks of sixteen codes (quant/kv_scheme.h): 2 * bits bytes each, every
  // code's lowest bit first, from the first byte's lowest on; kPadding readable bytes behind the
  // last. numbers[j * 16 + i] = minimum + scale * code; scales and minima are FP16, without minima
  // (null) codes are symmetric. One of each a block, `stride` apart; or one a lane, of all blocks.
  static constexpr size_t kPadding = 8;
  void (*decode_blocks)(const uint8_t* codes, int bits, size_t blocks, const uint16_t* scales,
                        const uint16_t* minima, size_t stride, float* numbers);
  void (*decode_lanes)(const uint8_t* codes, int bits, size_t blocks, const uint16_t* scales,
                       const uint16_t* minima, float* numbers);
};

extern const AttentionKernels kScalarAttention;
extern const AttentionKernels kAvx2Attention;
extern const AttentionKernels kAvx512Attention;

}  // namespace quantref
