#include "harness/tokenizer/bpe.h"

#include "harness/base/error.h"
#include "harness/io/json_file.h"
#include "harness/tokenizer/traced_text.h"

namespace quantref {
namespace {

// Of more symbols the heap is faster.
constexpr size_t kFewSymbols = 24;
constexpr size_t kMostSeen = size_t{1} << 18, kLongestSeen = 64;

}  // namespace

void BpeVocabulary::AddNeighbours(std::string_view token) {
  for (size_t at = 0; at < token.size();) {
    const Character left = CharacterAt(token, at);
    at += left.bytes;
    if (at < token.size()) {
      neighbours.insert(Neighbours(left.code, CharacterAt(token, at).code));
    }
  }
}

void BpeEncoder::Encode(std::string_view piece, std::vector<Symbol>& tokens) {
  after_unknown_ = false;
  if (vocabulary_.unit == BpeVocabulary::Unit::kCharacters && piece.size() > kLongestSeen) {
    EncodeCut(piece, tokens);
  } else {
    EncodeSmall(piece, tokens);
  }
}

bool BpeEncoder::MayCut(uint32_t left, uint32_t right) const {
  if (vocabulary_.neighbours.contains(BpeVocabulary::Neighbours(left, right))) return false;
  // Unknown characters may become one token.
  return !vocabulary_.fuse_unknown || vocabulary_.characters.contains(left) ||
         vocabulary_.characters.contains(right);
}

// Where no token has two characters side by side no merge leads across: so that of a text without
// pieces each stretch is encoded, and remembered, by itself.
void BpeEncoder::EncodeCut(std::string_view piece, std::vector<Symbol>& tokens) {
  size_t begin = 0, at = 0;
  Character left = CharacterAt(piece, 0);
  for (at = left.bytes; at < piece.size(); at += left.bytes) {
    const Character right = CharacterAt(piece, at);
    if (MayCut(left.code, right.code)) {
      EncodeSmall(piece.substr(begin, at - begin), tokens);
      begin = at;
    }
    left = right;
  }
  EncodeSmall(piece.substr(begin), tokens);
}

void BpeEncoder::EncodeSmall(std::string_view piece, std::vector<Symbol>& tokens) {
  const bool remember = piece.size() <= kLongestSeen;
  std::string key;
  if (remember) {
    key = piece;
    if (const auto found = seen_.find(key); found != seen_.end()) {
      tokens.insert(tokens.end(), found->second.begin(), found->second.end());
      return;
    }
  }
  const size_t before = tokens.size();
  if (const auto found = vocabulary_.whole.find(std::string(piece));
      found != vocabulary_.whole.end()) {
    tokens.push_back({found->second, static_cast<uint32_t>(piece.size())});
  } else {
    Merged(piece);
    after_unknown_ = false;
    size_t at = 0;
    for (const Symbol& symbol : symbols_) {
      if (symbol.id < vocabulary_.first_untokened) {
        tokens.push_back(symbol);
        after_unknown_ = false;
      } else {
        Spell(piece.substr(at, symbol.bytes), tokens);
      }
      at += symbol.bytes;
    }
  }
  if (remember && seen_.size() < kMostSeen) {
    seen_.emplace(
        std::move(key),
        std::vector<Symbol>(tokens.begin() + static_cast<std::ptrdiff_t>(before), tokens.end()));
  }
}

// The piece's symbols, merged.
void BpeEncoder::Merged(std::string_view piece) {
  symbols_.clear();
  if (vocabulary_.unit == BpeVocabulary::Unit::kBytes) {
    for (const char byte : piece)
      symbols_.push_back({vocabulary_.bytes[static_cast<unsigned char>(byte)], 1});
  } else {
    for (size_t at = 0; at < piece.size();) {
      const Character character = CharacterAt(piece, at);
      const auto found = vocabulary_.characters.find(character.code);
      const bool known = found != vocabulary_.characters.end();
      symbols_.push_back({known ? found->second : BpeVocabulary::kNone, character.bytes});
      at += character.bytes;
    }
  }
  if (symbols_.size() <= kFewSymbols) {
    MergeByScan(vocabulary_.merges, symbols_);
  } else {
    MergeByHeap(vocabulary_.merges, symbols_);
  }
}

// A character, or byte, that is no token: its bytes' tokens, or the unknown one.
void BpeEncoder::Spell(std::string_view character, std::vector<Symbol>& tokens) {
  bool spelled = true;
  for (const char byte : character) {
    spelled &= vocabulary_.bytes[static_cast<unsigned char>(byte)] != BpeVocabulary::kNone;
  }
  if (spelled) {
    for (const char byte : character)
      tokens.push_back({vocabulary_.bytes[static_cast<unsigned char>(byte)], 1});
    after_unknown_ = false;
    return;
  }
  if (!vocabulary_.unknown) {
    throw Error("no token stands for " + Quoted(character) +
                    " of the text, and the tokenizer has none for what is unknown",
                path_);
  }
  if (after_unknown_ && vocabulary_.fuse_unknown) {
    tokens.back().bytes += static_cast<uint32_t>(character.size());
  } else {
    tokens.push_back({*vocabulary_.unknown, static_cast<uint32_t>(character.size())});
  }
  after_unknown_ = true;
}

}  // namespace quantref
