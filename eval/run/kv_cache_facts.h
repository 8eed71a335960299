#pragma once

#include <cstddef>

#include "harness/model/config.h"
#include "harness/model/kv_codes.h"

namespace quantref {

// What a rounded cache of a model takes.
struct KvCacheFacts {
  KvScheme scheme;
  KvCost cost;            // of all blocks together, beside what waits
  size_t tokens = 0;      // of a text,
  size_t bytes = 0;       // whose cache takes so much memory, what waits included
  size_t fp16_bytes = 0;  // and in FP16 as many numbers
};
KvCacheFacts DescribeKvCache(const ModelConfig& config, size_t tokens, const KvScheme& scheme);

}  // namespace quantref
