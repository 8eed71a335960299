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

// How much may be made of one text, in all of its stretches: of each byte 64, and 64 KiB.
class GrowthLimit {
 public:
  // where: for errors.
  GrowthLimit(size_t bytes, std::string where);
  // Throws Error where so many were too many beside those that are made.
  void Check(size_t bytes) const;
  void Add(size_t bytes) { made_ += bytes; }

 private:
  size_t given_, made_ = 0;
  std::string where_;
};

// Throws Error for steps that make more of a text than the limit has left, before they do.
TracedText Normalized(const std::vector<NormalizerStep>& steps, TracedText text,
                      GrowthLimit& limit);

}  // namespace quantref
