#include "harness/model/kv_cache.h"

#include <algorithm>

#include "harness/base/check.h"

namespace quantref {

KvCache::KvCache(const ModelConfig& config, size_t capacity) {
  QR_CHECK(capacity > 0);
  QR_CHECK_LE(capacity, config.context);
  const size_t width = config.kv_heads * config.head_dim;
  for (std::vector<Matrix<float>>* side : {&keys, &values}) {
    for (size_t i = 0; i < config.layers.size(); ++i) {
      side->emplace_back(capacity, width);
      std::fill_n(side->back().data(), capacity * width, 0.0f);
    }
  }
}

KvView KvCache::layer(size_t i) {
  QR_CHECK_LT(i, keys.size());
  return {keys[i].view(), values[i].view(), tokens};
}

}  // namespace quantref
