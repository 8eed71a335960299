#pragma once

#include <vector>

#include "harness/base/matrix.h"
#include "harness/base/team.h"
#include "harness/model/config.h"
#include "harness/model/kv_codes.h"

namespace quantref {

// What attention needs to know of a block.
struct AttentionShape {
  size_t heads, kv_heads, head_dim;
  size_t window = 0;  // tokens that one attends to, itself included; 0: all before it
  double scale = 0;   // of scores; 0: 1 / sqrt(head_dim)
  double softcap =
      0;  // scaled scores s become softcap * tanh(s / softcap); 0: they stay as they are
};
AttentionShape AttentionOf(const ModelConfig& config, size_t layer);

// One worker's scratch, kept from call to call: a head's keys and values in the kernels' layout, a
// tile's queries likewise, and its scores; some keys, or values, decoded.
struct AttentionScratch {
  Matrix<float> keys, values, queries, scores, decoded;
};

// Causal attention of the last T of S >= T positions, each to itself and those before it, of these
// to those in the window (Vaswani et al. 2017, eq. 1). Grouped queries: query head h reads
// key/value head h / (heads / kv_heads). q, out: (T, heads * head_dim); k, v: (S, kv_heads *
// head_dim).
//
// Up to kThinTokens queries take the keys by dot products. More go by tiles of kQueryTile, whose
// numerators are made while their scores lie in the cache; there a result's bits follow from its
// query and from the keys and values that it sees alone: scores are sums of fused multiply-adds in
// the order of channels, mixed values in the order of keys, 256 positions at a time.
inline constexpr size_t kQueryTile = 48;
void CausalAttention(const AttentionShape& shape, MatrixView<const float> q,
                     MatrixView<const float> k, MatrixView<const float> v,
                     std::vector<AttentionScratch>& scratch, MatrixView<float> out,
                     Team* team = nullptr, const RoundedKv* rounded = nullptr);

}  // namespace quantref
