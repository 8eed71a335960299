#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "harness/tokenizer/merges.h"

namespace quantref {

// A BPE vocabulary, ready to encode pieces of text.
struct BpeVocabulary {
  static constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();

  // What a piece is before anything merges.
  enum class Unit { kBytes, kCharacters };
  Unit unit = Unit::kBytes;
  // Tokens of single bytes. Of unit kCharacters: those that spell a character which has no token.
  std::array<uint32_t, 256> bytes = AllNone();
  std::unordered_map<uint32_t, uint32_t> characters;  // symbol by code point
  uint32_t first_untokened = kNone;                   // symbols from there on are no tokens
  MergeTable merges;
  // A piece that is one of these is that token, whatever merges say.
  std::unordered_map<std::string, uint32_t> whole;
  // What stands for characters that nothing spells, and whether one does for a run of them.
  std::optional<uint32_t> unknown;
  bool fuse_unknown = false;
  // Code points that stand side by side in a token, of unit kCharacters: elsewhere nothing merges.
  std::unordered_set<uint64_t> neighbours;

  static constexpr std::array<uint32_t, 256> AllNone() {
    std::array<uint32_t, 256> none{};
    none.fill(kNone);
    return none;
  }
  static uint64_t Neighbours(uint32_t left, uint32_t right) { return uint64_t{left} << 32 | right; }
  void AddNeighbours(std::string_view token);
};

// Encodes pieces of one text; remembers those that it has seen.
class BpeEncoder {
 public:
  // path: for errors. Both must outlive it.
  BpeEncoder(const BpeVocabulary& vocabulary, const std::string& path)
      : vocabulary_(vocabulary), path_(path) {}

  // Appends the tokens of a piece in valid UTF-8. Error where nothing stands for a character.
  void Encode(std::string_view piece, std::vector<Symbol>& tokens);

 private:
  void EncodeCut(std::string_view piece, std::vector<Symbol>& tokens);
  void EncodeSmall(std::string_view piece, std::vector<Symbol>& tokens);
  bool MayCut(uint32_t left, uint32_t right) const;
  void Merged(std::string_view piece);
  void Spell(std::string_view character, std::vector<Symbol>& tokens);

  const BpeVocabulary& vocabulary_;
  const std::string& path_;
  std::unordered_map<std::string, std::vector<Symbol>> seen_;
  std::vector<Symbol> symbols_;
  bool after_unknown_ = false;
};

}  // namespace quantref
