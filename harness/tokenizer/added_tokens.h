#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/tokenizer/traced_text.h"

namespace quantref {

struct AddedToken {
  std::string text;
  uint32_t id = 0;
  // Whether it takes the white space before it, and behind it.
  bool lstrip = false, rstrip = false;
};

bool BeginsWithSpace(const AddedToken& token);

// Tokens that are cut out of text before it is split.
class AddedTokens {
 public:
  AddedTokens() = default;
  explicit AddedTokens(std::vector<AddedToken> tokens);  // no text is empty

  // All of the text in its order: stretches without a token, and the tokens. The leftmost counts,
  // of those that begin there the longest.
  struct Stretch {
    Span span;
    std::optional<uint32_t> id;
  };
  std::vector<Stretch> Cut(std::string_view text) const;

 private:
  const AddedToken* TokenAt(std::string_view text) const;
  std::array<std::vector<AddedToken>, 256> by_first_byte_;  // the longest first
};

}  // namespace quantref
