#pragma once

#include <vector>

#include "harness/tokenizer/json_node.h"
#include "harness/tokenizer/normalizer.h"
#include "harness/tokenizer/splitter.h"

namespace quantref {

// The steps before the model in tokenizer.json. Errors name those that are not known.

std::vector<NormalizerStep> ReadNormalizer(const JsonNode& node);

struct PreTokenizer {
  std::vector<SplitStep> steps;
  bool byte_level = false;  // pieces are written in the byte alphabet at last
};
// normalizer: what comes before.
PreTokenizer ReadPreTokenizer(const JsonNode& node, const std::vector<NormalizerStep>& normalizer);

}  // namespace quantref
