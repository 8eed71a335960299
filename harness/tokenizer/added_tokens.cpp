#include "harness/tokenizer/added_tokens.h"

#include <algorithm>
#include <utility>

#include "harness/base/check.h"

namespace quantref {

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
    keep(at);
    stretches.push_back({{at, at + token->text.size()}, token->id});
    at = kept = at + token->text.size();
  }
  keep(text.size());
  return stretches;
}

}  // namespace quantref
