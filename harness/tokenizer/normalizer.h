#pragma once

#include <string>
#include <variant>
#include <vector>

#include "harness/tokenizer/pattern.h"
#include "harness/tokenizer/traced_text.h"

namespace quantref {

// What a tokenizer does to text before it is cut, step by step, as the normalizers of Hugging
// Face's tokenizers.

struct PrependText {  // before text that is not empty
  std::string text;
};

struct ReplaceText {
  Pattern pattern;
  std::string by;
};

// Unicode's normalization form C (UAX #15), by utf8proc.
struct ComposeText {};

using NormalizerStep = std::variant<PrependText, ReplaceText, ComposeText>;

// Throws Error, at `where`, for steps that make far more of a text than it is: of each byte 64, and
// 64 KiB.
TracedText Normalized(const std::vector<NormalizerStep>& steps, TracedText text,
                      const std::string& where);

}  // namespace quantref
