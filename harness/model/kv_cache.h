#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "harness/base/matrix.h"
#include "harness/model/config.h"
#include "harness/model/kv_codes.h"

namespace quantref {

// What one block keeps of the tokens before: keys (rotated) and values, (capacity, kv_heads *
// head_dim) each, of which the first `tokens` rows are filled; or a rounded cache in their place.
struct KvView {
  MatrixView<float> keys, values;
  size_t tokens = 0;
  RoundedKv* rounded = nullptr;
};

// The keys and values of one text so far, for Transformer::Extend: in FP32, or rounded. Their
// memory is touched here and not in the middle of a measurement.
struct KvCache {
  // 0 < capacity <= config.context
  KvCache(const ModelConfig& config, size_t capacity,
          const std::optional<KvScheme>& scheme = std::nullopt);

  // What one of this capacity takes of memory; and what this one does.
  static size_t Bytes(const ModelConfig& config, size_t capacity,
                      const std::optional<KvScheme>& scheme = std::nullopt);
  size_t bytes() const;
  size_t capacity() const { return capacity_; }
  size_t layers() const { return rounded.empty() ? keys.size() : rounded.size(); }
  KvView layer(size_t i);

  std::vector<Matrix<float>> keys, values;  // one a block; none where they are rounded
  std::vector<RoundedKv> rounded;           // one a block, likewise
  // May be lowered: what came later is forgotten. Of a rounded cache what was rounded by then and
  // waits again (KvScheme) stays what it was rounded to.
  size_t tokens = 0;

 private:
  size_t capacity_;
};

}  // namespace quantref
