#include "harness/tokenizer/bpe_builder.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "harness/base/error.h"
#include "harness/io/json_file.h"
#include "harness/io/utf8.h"
#include "harness/tokenizer/byte_alphabet.h"
#include "harness/tokenizer/traced_text.h"

namespace quantref {
namespace {

// The longest known have a few hundred spaces; a token of n bytes has n places where it splits.
constexpr size_t kLongestToken = 2048;
constexpr uint32_t kMostIds = uint32_t{1} << 31;

// The byte that "<0x0A>" spells.
std::optional<unsigned> SpelledByte(std::string_view token) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  const size_t high = kDigits.find(token[3]), low = kDigits.find(token[4]);
  if (high == std::string_view::npos || low == std::string_view::npos) return std::nullopt;
  return static_cast<unsigned>(16 * high + low);
}

// How many of a text's first bytes its first character, or byte, has.
size_t FirstUnit(std::string_view text, TokenText form) {
  return form == TokenText::kBytes ? 1 : CharacterAt(text, 0).bytes;
}

}  // namespace

BpeBuilder::BpeBuilder(std::vector<FileToken> tokens, TokenText form, std::string path)
    : path_(std::move(path)), form_(form), tokens_(std::move(tokens)) {
  made_.unit = form == TokenText::kCharacters ? BpeVocabulary::Unit::kCharacters
                                              : BpeVocabulary::Unit::kBytes;
  ids_.reserve(tokens_.size());
  seen_.reserve(tokens_.size());
  for (const FileToken& token : tokens_) {
    const auto fail = [&](const std::string& what) {
      Fail("token " + std::to_string(token.id) + ", " + Quoted(token.text) + ", " + what);
    };
    if (token.id >= kMostIds) fail("has an id beyond any vocabulary");
    if (token.text.size() > kLongestToken) fail("is too long");
    if (form != TokenText::kBytes && FindInvalidUtf8(token.text)) fail("is not UTF-8");
    if (!seen_.insert(token.id).second) fail("has the id of another one");
    ids_end_ = std::max(ids_end_, token.id + 1);
    if (token.text.empty()) continue;  // no text becomes it
    if (!ids_.emplace(token.text, token.id).second) fail("has the text of another one");
  }
  made_.first_untokened = next_symbol_ = ids_end_;
  for (const auto& [text, id] : ids_) {
    const auto bytes = form == TokenText::kAlphabet ? BytesOfAlphabet(text) : std::string(text);
    if (form == TokenText::kCharacters) {
      made_.AddNeighbours(text);
      const Character first = CharacterAt(text, 0);
      if (first.bytes == text.size()) made_.characters[first.code] = id;
    } else if (bytes && bytes->size() == 1) {
      made_.bytes[static_cast<unsigned char>(bytes->front())] = id;
    }
  }
}

void BpeBuilder::Fail(const std::string& what) const { throw Error(what, path_); }

std::optional<uint32_t> BpeBuilder::Find(std::string_view text) const {
  const auto found = ids_.find(text);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

uint32_t BpeBuilder::TokenOf(const std::string& text, const std::string& where) const {
  const auto found = ids_.find(text);
  if (found == ids_.end()) {
    throw Error(where + ": expected a token of the vocabulary, found " + Quoted(text), path_,
                "vocabulary and merges are of different tokenizers, or one was cut short");
  }
  return found->second;
}

void BpeBuilder::MergeByList(const std::vector<TokenPair>& merges) {
  made_.merges.Reserve(merges.size());
  for (uint32_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    const std::string where = "merge " + std::to_string(rank);
    const uint32_t id = TokenOf(left + right, where);
    const uint32_t left_id = TokenOf(left, where), right_id = TokenOf(right, where);
    merging_.insert({left_id, right_id});
    if (!made_.merges.Add(left_id, right_id, {rank, id})) {
      Fail(where + ", of " + Quoted(left) + " and " + Quoted(right) + ", is there twice");
    }
  }
}

void BpeBuilder::MergeByScore() {
  if (form_ == TokenText::kBytes) {
    for (size_t byte = 0; byte < made_.bytes.size(); ++byte) {
      if (made_.bytes[byte] == BpeVocabulary::kNone)
        Fail("no token for byte " + std::to_string(byte));
    }
  }
  std::vector<float> scores;
  for (const FileToken& token : tokens_) {
    if (std::isnan(token.score))
      Fail("the score of token " + std::to_string(token.id) + " is none");
    scores.push_back(token.score);
  }
  std::sort(scores.begin(), scores.end(), std::greater<>());
  scores.erase(std::unique(scores.begin(), scores.end()), scores.end());
  made_.merges.Reserve(2 * tokens_.size());
  for (const FileToken& token : tokens_) {
    const auto place =
        std::lower_bound(scores.begin(), scores.end(), token.score, std::greater<>());
    AddSplits(token, static_cast<uint32_t>(place - scores.begin()));
  }
}

// Of a part of a token: the token that it is, or a symbol of its own for a single character;
// nothing that merges becomes anything else.
uint32_t BpeBuilder::SymbolOf(std::string_view text) {
  if (const auto token = ids_.find(text); token != ids_.end()) return token->second;
  if (form_ == TokenText::kBytes || FirstUnit(text, form_) != text.size())
    return BpeVocabulary::kNone;
  const auto [symbol, added] = made_.characters.emplace(CharacterAt(text, 0).code, next_symbol_);
  next_symbol_ += added ? 1 : 0;
  return symbol->second;
}

void BpeBuilder::AddSplits(const FileToken& token, uint32_t rank) {
  const std::string_view text = token.text;
  if (text.empty()) return;
  for (size_t at = FirstUnit(text, form_); at < text.size();
       at += FirstUnit(text.substr(at), form_)) {
    const uint32_t left = SymbolOf(text.substr(0, at));
    if (left == BpeVocabulary::kNone) continue;
    const uint32_t right = SymbolOf(text.substr(at));
    if (right != BpeVocabulary::kNone) made_.merges.Add(left, right, {rank, token.id});
  }
}

void BpeBuilder::SpellByte(const std::string& token, uint32_t id) {
  const auto byte = SpelledByte(token);
  if (!byte)
    Fail("token " + std::to_string(id) + " of a byte: expected <0x..>, found " + Quoted(token));
  made_.bytes[*byte] = id;
}

void BpeBuilder::SpellByBytes() {
  auto spelled = BpeVocabulary::AllNone();
  bool any = false;
  for (const auto& [text, id] : ids_) {
    const auto byte = SpelledByte(text);
    if (!byte) continue;
    spelled[*byte] = id;
    any = true;
    RefuseMerging(id);
  }
  if (!any) return;
  // What has a token in the byte alphabet falls back to no other.
  if (form_ == TokenText::kCharacters) made_.bytes = spelled;
  if (const auto missing = MissingByte()) {
    Fail("byte_fallback: expected a token of every byte, found none of byte " +
         std::to_string(*missing));
  }
}

// The first byte of those that UTF-8 uses which no token stands for.
std::optional<size_t> BpeBuilder::MissingByte() const {
  for (size_t byte = 0; byte < made_.bytes.size(); ++byte) {
    const bool used = byte < 0xC0 || (byte > 0xC1 && byte < 0xF5);
    // Gemma 1 and 2 have "\t" for <0x09>: a byte of ASCII is a character, which may be a token.
    const bool is_token = byte < 0x80 && made_.characters.contains(static_cast<uint32_t>(byte));
    if (used && !is_token && made_.bytes[byte] == BpeVocabulary::kNone) return byte;
  }
  return std::nullopt;
}

// What stands for an unknown character would merge on, beside its neighbours; no tokenizer that is
// known has such merges.
void BpeBuilder::RefuseMerging(uint32_t id) const {
  if (!merging_.contains(id)) return;
  Fail("token " + std::to_string(id) +
       " stands for what has no token: expected no merge of it, found one");
}

void BpeBuilder::TakeWhole() {
  for (const auto& [text, id] : ids_) {
    auto bytes = form_ == TokenText::kAlphabet ? BytesOfAlphabet(text) : std::string(text);
    if (bytes) made_.whole.emplace(std::move(*bytes), id);
  }
}

void BpeBuilder::SetUnknown(std::optional<uint32_t> id, bool fuse) {
  const bool needed = form_ == TokenText::kCharacters || MissingByte();
  if (id && needed) RefuseMerging(*id);
  made_.unknown = id;
  made_.fuse_unknown = fuse;
}

}  // namespace quantref
