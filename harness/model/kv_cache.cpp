#include "harness/model/kv_cache.h"

#include <algorithm>

#include "harness/base/check.h"

namespace quantref {

KvCache::KvCache(const ModelConfig& config, size_t capacity, const std::optional<KvScheme>& scheme)
    : capacity_(capacity) {
  QR_CHECK(capacity > 0);
  QR_CHECK_LE(capacity, config.context);
  const size_t layers = config.layers.size(), width = config.kv_heads * config.head_dim;
  if (scheme) {
    rounded.reserve(layers);
    for (size_t i = 0; i < layers; ++i)
      rounded.emplace_back(*scheme, config.kv_heads, config.head_dim, capacity);
    return;
  }
  for (std::vector<Matrix<float>>* side : {&keys, &values}) {
    for (size_t i = 0; i < layers; ++i) {
      side->emplace_back(capacity, width);
      std::fill_n(side->back().data(), capacity * width, 0.0f);
    }
  }
}

size_t KvCache::Bytes(const ModelConfig& config, size_t capacity,
                      const std::optional<KvScheme>& scheme) {
  const size_t layers = config.layers.size();
  if (scheme) return layers * RoundedKv::Bytes(*scheme, config.kv_heads, config.head_dim, capacity);
  return 2 * sizeof(float) * layers * capacity * config.kv_heads * config.head_dim;
}

size_t KvCache::bytes() const {
  size_t sum = 0;
  for (const RoundedKv& block : rounded) sum += block.bytes();
  for (const std::vector<Matrix<float>>* side : {&keys, &values}) {
    for (const Matrix<float>& block : *side) sum += sizeof(float) * block.rows() * block.cols();
  }
  return sum;
}

KvView KvCache::layer(size_t i) {
  QR_CHECK_LT(i, layers());
  if (!rounded.empty()) return {{}, {}, tokens, &rounded[i]};
  return {keys[i].view(), values[i].view(), tokens};
}

}  // namespace quantref
