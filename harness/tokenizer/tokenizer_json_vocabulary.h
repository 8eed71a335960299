#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "harness/tokenizer/bpe_builder.h"
#include "harness/tokenizer/json_node.h"

namespace quantref {

// {"token": id, ...}
std::vector<FileToken> ReadVocabulary(const JsonNode& node);

// Each "a b" or ["a", "b"].
std::vector<TokenPair> ReadMerges(const JsonNode& node);

// "a b"; nothing where it is not two tokens with one space between.
std::optional<TokenPair> SplitMerge(std::string_view text);

}  // namespace quantref
