#include "harness/tokenizer/added_tokens.h"

#include <algorithm>
#include <utility>

#include "harness/base/check.h"

namespace quantref {
namespace {

// Unicode's White_Space.
bool IsWhiteSpace(uint32_t code) {
  return (code >= 0x9 && code <= 0xD) || code == ' ' || code == 0x85 || code == 0xA0 ||
         code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 ||
         code == 0x202F || code == 0x205F || code == 0x3000;
}

size_t WithSpaceBehind(std::string_view text, size_t end) {
  while (end < text.size()) {
    const Character next = CharacterAt(text, end);
    if (!IsWhiteSpace(next.code)) break;
    end += next.bytes;
  }
  return end;
}

// least: where what comes before ends.
size_t WithSpaceBefore(std::string_view text, size_t begin, size_t least) {
  while (begin > least) {
    size_t before = begin - 1;
    while (before > least && (static_cast<unsigned char>(text[before]) & 0xC0) == 0x80) --before;
    if (!IsWhiteSpace(CharacterAt(text, before).code)) break;
    begin = before;
  }
  return begin;
}

}  // namespace

bool BeginsWithSpace(const AddedToken& token) {
  return IsWhiteSpace(CharacterAt(token.text, 0).code);
}

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) {
  std::stable_sort(tokens.begin(), tokens.end(), [](const AddedToken& a, const AddedToken& b) {
    return a.text.size() > b.text.size();
  });
  for (AddedToken& token : tokens) {
    QR_CHECK(!token.text.empty());
    by_first_byte_[static_cast<unsigned char>(token.text[0])].push_back(std::move(token));
  }
}

const AddedToken* AddedTokens::TokenAt(std::string_view text) const {
  for (const AddedToken& token : by_first_byte_[static_cast<unsigned char>(text[0])]) {
    if (text.starts_with(token.text)) return &token;
  }
  return nullptr;
}

std::vector<AddedTokens::Stretch> AddedTokens::Cut(std::string_view text) const {
  std::vector<Stretch> stretches;
  size_t kept = 0;
  const auto keep = [&](size_t end) {
    if (end > kept) stretches.push_back({{kept, end}, std::nullopt});
  };
  for (size_t at = 0; at < text.size();) {
    const AddedToken* token = TokenAt(text.substr(at));
    if (token == nullptr) {
      ++at;
      continue;
    }
    const size_t begin = token->lstrip ? WithSpaceBefore(text, at, kept) : at;
    keep(begin);
    at += token->text.size();
    if (token->rstrip) at = WithSpaceBehind(text, at);
    stretches.push_back({{begin, at}, token->id});
    kept = at;
  }
  keep(text.size());
  return stretches;
}

}  // namespace quantref
