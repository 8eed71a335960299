#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace quantref {

// What the keys `tokenizer.ggml.*` of a GGUF file say (ggml's docs/gguf.md), as they stand there:
// Tokenizer::FromGguf judges them. Absent keys: an empty list, or nothing.
struct GgufVocabulary {
  std::string model;                   // "llama", "gpt2"
  std::optional<std::string> pre;      // "llama-bpe"
  std::vector<std::string> tokens;     // by id
  std::vector<float> scores;           // one a token
  std::vector<int32_t> token_types;    // one a token, see GgufTokenType
  std::vector<std::string> merges;     // "left right", the first to merge first
  std::optional<uint32_t> bos_id;      // bos_token_id
  std::optional<uint32_t> eos_id;      // eos_token_id; of files that are written: no text has it
  std::optional<uint32_t> unknown_id;  // unknown_token_id
  std::optional<bool> add_bos;         // add_bos_token
  std::optional<bool> add_space_prefix;
};

enum class GgufTokenType : int32_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

}  // namespace quantref
