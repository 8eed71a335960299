#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "harness/tokenizer/bpe.h"

namespace quantref {

// A token as files have it: bytes, or valid UTF-8, or text of the byte alphabet.
struct FileToken {
  std::string text;
  uint32_t id = 0;
  float score = 0;  // of kinds that have them: the highest merges first
};

using TokenPair = std::pair<std::string, std::string>;

// How a vocabulary's tokens are written, and so what pieces begin as.
enum class TokenText {
  kAlphabet,  // of bytes, in GPT-2's alphabet: a token with another character is reached by no text
  kBytes,     // as they are
  kCharacters  // in UTF-8; "<0x0A>" spells a byte where byte_fallback says so
};

// Makes BpeVocabulary of what files say. Errors, at `path`, name the token or merge.
class BpeBuilder {
 public:
  // The tokens that text may become, control tokens not among them. Error where two have the same
  // text or id.
  BpeBuilder(std::vector<FileToken> tokens, TokenText form, std::string path);

  // By a list: left and right, the first to merge first; both and what they make must be tokens.
  void MergeByList(const std::vector<TokenPair>& merges);
  // Every pair that makes a token merges, that of the highest score first. Characters that are no
  // token themselves merge, too.
  void MergeByScore();

  void SpellByte(const std::string& token, uint32_t id);  // Error where it is no "<0x..>"
  // Characters without a token become "<0x..>", if such tokens are there: then of every byte. After
  // the merges, as SetUnknown: Error where what stands for such a character merges.
  void SpellByBytes();
  void TakeWhole();  // a piece that is a token is not merged
  void SetUnknown(std::optional<uint32_t> id, bool fuse);

  std::optional<uint32_t> Find(std::string_view text) const;  // as files have it
  bool HasId(uint32_t id) const { return seen_.contains(id); }
  uint32_t ids_end() const { return ids_end_; }  // all ids are below

  BpeBuilder(const BpeBuilder&) = delete;
  BpeBuilder& operator=(const BpeBuilder&) = delete;
  BpeVocabulary Take() && { return std::move(made_); }

 private:
  [[noreturn]] void Fail(const std::string& what) const;
  uint32_t TokenOf(const std::string& text, const std::string& where) const;
  uint32_t SymbolOf(std::string_view text);
  void AddSplits(const FileToken& token, uint32_t rank);
  std::optional<size_t> MissingByte() const;
  void RefuseMerging(uint32_t id) const;

  std::string path_;
  TokenText form_;
  std::vector<FileToken> tokens_;
  std::unordered_map<std::string_view, uint32_t> ids_;  // by tokens_' texts
  std::unordered_set<uint32_t> seen_;                   // ids
  std::unordered_set<uint32_t> merging_;                // sides of the list's merges
  uint32_t ids_end_ = 0;
  uint32_t next_symbol_ = 0;  // for characters that are no token
  BpeVocabulary made_;
};

}  // namespace quantref
