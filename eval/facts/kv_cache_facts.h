#pragma once

#include <cstddef>
#include <string>

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

// Throws Error for the cell of this label where so much waits unrounded that it is all of a text of
// so many tokens, or all that a sliding window lets a token see: such a cache would look like one
// that costs nothing.
void CheckRounds(const ModelConfig& config, const KvScheme& scheme, size_t tokens,
                 const std::string& label);

}  // namespace quantref
