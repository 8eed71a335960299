#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/io/input_file.h"

namespace quantref {

// A SentencePiece model (tokenizer.model). Threads may share it.
class Tokenizer {
 public:
  // path: tokenizer.model or the folder that holds it. Error for any other kind of tokenizer.
  static Tokenizer Load(const std::filesystem::path& path);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  // Ids below vocab_size(). No BOS or EOS is added: protocols decide that. At most kMaxTextBytes.
  std::vector<uint32_t> Encode(std::string_view text) const;
  static constexpr size_t kMaxTextBytes = size_t{1} << 30;

  // The same ids with the text that each stands for: from begins[i] to begins[i + 1], the last to
  // the text's end; all of the text together. Of a character that is spelled in bytes the last one
  // has it, those before have nothing.
  struct Placed {
    std::vector<uint32_t> ids, begins;
  };
  Placed EncodePlaced(std::string_view text) const;

  // The text of the ids. Control tokens give none, nor do ids that no piece has: a model may have
  // tokens beside the tokenizer's.
  std::string Decode(std::span<const uint32_t> ids) const;

  size_t vocab_size() const;
  std::optional<uint32_t> bos_id() const;
  // What stands for text that no token spells; nothing in a tokenizer that has none.
  std::optional<uint32_t> unknown_id() const;
  // Whether texts begin with BOS, by tokenizer_config.json's add_bos_token; nothing where it is
  // silent or not there.
  std::optional<bool> adds_bos() const;
  const std::string& sha256() const;  // of the file
  const InputFile& file() const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace quantref
