#pragma once

#include <string_view>

#include "harness/tokenizer/tokenizer.h"

namespace quantref {

// What a kind of tokenizer does with text of at most Tokenizer::kMaxTextBytes.
class TextEncoder {
 public:
  virtual ~TextEncoder() = default;
  virtual Tokenizer::Placed Encode(std::string_view text) const = 0;
};

}  // namespace quantref
