#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace quantref {

// What tokenizer_config.json says beside a tokenizer's own files; nothing where it is silent or not
// there.
struct TokenizerConfig {
  std::string path;
  std::optional<bool> add_bos;
  std::optional<std::string> bos_token;
  std::optional<std::string> tokenizer_class;
  bool add_prefix_space = false;

  struct Added {
    uint32_t id = 0;
    std::string content;
    bool special = false, lstrip = false, rstrip = false;
  };
  std::vector<Added> added;  // added_tokens_decoder
};

// Of that folder. Error where it is malformed.
TokenizerConfig ReadTokenizerConfig(const std::filesystem::path& folder);

// Of bos_token, which the config names, what was found in the vocabulary. Error where that is
// nothing.
uint32_t BosIdOf(const TokenizerConfig& config, std::optional<uint32_t> found);

}  // namespace quantref
