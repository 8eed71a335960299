#pragma once

#include <cstddef>
#include <vector>

#include "harness/base/matrix.h"
#include "harness/model/config.h"

namespace quantref {

// What one block keeps of the tokens before: keys (rotated) and values, (capacity, kv_heads *
// head_dim) each, of which the first `tokens` rows are filled.
struct KvView {
  MatrixView<float> keys, values;
  size_t tokens = 0;
};

// The keys and values of one text so far, in FP32, for Transformer::Extend. Their memory is
// touched here and not in the middle of a measurement.
struct KvCache {
  KvCache(const ModelConfig& config, size_t capacity);  // 0 < capacity <= config.context

  static size_t Bytes(const ModelConfig& config, size_t capacity) {
    return 2 * sizeof(float) * config.layers.size() * capacity * config.kv_heads * config.head_dim;
  }
  size_t capacity() const { return keys.front().rows(); }
  KvView layer(size_t i);

  std::vector<Matrix<float>> keys, values;  // one a block
  size_t tokens = 0;                        // may be lowered: what came later is forgotten
};

}  // namespace quantref
