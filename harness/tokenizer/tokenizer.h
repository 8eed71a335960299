#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/io/input_file.h"
#include "harness/tokenizer/gguf_vocabulary.h"
#include "harness/tokenizer/text_encoder.h"

namespace quantref {

// What is known of a tokenizer beside how it encodes.
struct TokenizerFacts {
  std::string kind;         // "SentencePiece", "BPE of tokenizer.json"
  std::string path;         // of the file that errors name
  size_t vocab_size = 0;    // ids are below, of control tokens, too
  size_t text_ids_end = 0;  // those that text becomes are below
  std::optional<uint32_t> bos_id;
  // What stands for text that no token spells; nothing in a tokenizer that spells all.
  std::optional<uint32_t> unknown_id;
  // Whether texts begin with BOS, by its files: add_bos_token of tokenizer_config.json, else what
  // the kind of tokenizer has for it. Nothing where they are silent.
  std::optional<bool> adds_bos;
  std::string sha256;  // of what it was made from: files one behind the other, or a GGUF's keys
  std::vector<InputFile> files;
};

// How text becomes token ids. Cheap to copy; threads may share it.
class Tokenizer {
 public:
  // path: a model folder, or a file of a tokenizer. Which of several kinds in a folder is taken:
  // load_tokenizer.cpp. Throws Error, with the file and what in it, where there is none or
  // something of it is not known.
  static Tokenizer Load(const std::filesystem::path& path);
  // where: the GGUF file, for errors.
  static Tokenizer FromGguf(const GgufVocabulary& vocabulary, const std::string& where);

  Tokenizer(TokenizerFacts facts, std::shared_ptr<const TextEncoder> encoder);

  // Ids below vocab_size. No BOS or EOS is added: protocols decide that. Text is never parsed for
  // control tokens; what is not UTF-8 counts as U+FFFD. At most kMaxTextBytes.
  std::vector<uint32_t> Encode(std::string_view text) const;
  static constexpr size_t kMaxTextBytes = size_t{1} << 30;

  using Placed = PlacedTokens;
  Placed EncodePlaced(std::string_view text) const;

  const TokenizerFacts& facts() const { return facts_; }
  size_t vocab_size() const { return facts_.vocab_size; }
  std::optional<uint32_t> bos_id() const { return facts_.bos_id; }
  std::optional<uint32_t> unknown_id() const { return facts_.unknown_id; }
  std::optional<bool> adds_bos() const { return facts_.adds_bos; }
  const std::string& sha256() const { return facts_.sha256; }

 private:
  TokenizerFacts facts_;
  std::shared_ptr<const TextEncoder> encoder_;
};

// The files of a model folder that say how text becomes tokens, of whatever kind, for who passes
// them on.
std::vector<std::filesystem::path> TokenizerFilesIn(const std::filesystem::path& folder);

}  // namespace quantref
