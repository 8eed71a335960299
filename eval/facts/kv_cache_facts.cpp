#include "eval/facts/kv_cache_facts.h"

#include <fmt/format.h>

#include <algorithm>

#include "eval/support/text_table.h"
#include "harness/base/error.h"
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

void CheckRounds(const ModelConfig& config, const KvScheme& scheme, size_t tokens,
                 const std::string& label) {
  const size_t waits =
      scheme.keys == KvReach::kChannel ? std::max(scheme.residual, scheme.group) : scheme.residual;
  if (waits >= tokens) {
    throw Error(fmt::format("keys wait unrounded for {}, and texts have {}: they would never be "
                            "rounded",
                            Plural(waits, "token"), tokens),
                label,
                "lower kv_cache.residual or kv_cache.group, or measure longer windows (of a "
                "synthetic model: throughput.prefill)");
  }
  for (size_t layer = 0; layer < config.layers.size(); ++layer) {
    const size_t sees = config.layers[layer].sliding_window;
    if (sees == 0 || waits < sees) continue;
    throw Error(fmt::format("keys wait unrounded for {}, and the sliding window of layers.{} has "
                            "{}: it would see few that are rounded, or none",
                            Plural(waits, "token"), layer, sees),
                label, "lower kv_cache.residual or kv_cache.group");
  }
}

}  // namespace quantref
