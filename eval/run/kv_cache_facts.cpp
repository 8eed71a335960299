#include "eval/run/kv_cache_facts.h"

#include "harness/model/kv_cache.h"

namespace quantref {

KvCacheFacts DescribeKvCache(const ModelConfig& config, size_t tokens, const KvScheme& scheme) {
  KvCacheFacts facts{
      .scheme = scheme, .cost = CostOf(scheme, config.kv_heads, config.head_dim), .tokens = tokens};
  facts.cost.bytes *= static_cast<double>(config.layers.size());
  facts.bytes = KvCache::Bytes(config, tokens, scheme);
  facts.fp16_bytes = KvCache::Bytes(config, tokens) / 2;  // which counts FP32
  return facts;
}

}  // namespace quantref
