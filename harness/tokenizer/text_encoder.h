#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace quantref {

// Ids with the text that each stands for: from begins[i] to begins[i + 1], the last to the text's
// end; all of the text together. Of what several tokens spell together the last one may have it
// all, and those before nothing.
struct PlacedTokens {
  std::vector<uint32_t> ids, begins;
};

// What a kind of tokenizer does with text of at most Tokenizer::kMaxTextBytes (tokenizer.h).
class TextEncoder {
 public:
  virtual ~TextEncoder() = default;
  virtual PlacedTokens Encode(std::string_view text) const = 0;
};

}  // namespace quantref
