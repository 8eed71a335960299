#pragma once

#include <string>
#include <variant>
#include <vector>

#include "harness/tokenizer/pattern.h"
#include "harness/tokenizer/traced_text.h"

namespace quantref {

// How a tokenizer cuts text into pieces, which tokens never cross, step by step, as the
// pre-tokenizers of Hugging Face's tokenizers. Each step cuts the pieces of the one before.

struct SplitByPattern {
  enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
  Pattern pattern;
  Behavior behavior = Behavior::kIsolated;
  bool invert = false;  // what does not match counts as what matches
};

// A space before each piece that begins with none.
struct PrefixSpace {};

// SentencePiece's way: `mark` for each space and before the text, a piece from mark to mark.
struct MarkSpaces {
  enum class Prepend { kAlways, kFirst, kNever };  // kFirst: only where the whole text begins
  std::string mark;
  Prepend prepend = Prepend::kAlways;
  bool split = true;
};

using SplitStep = std::variant<SplitByPattern, PrefixSpace, MarkSpaces>;

struct Pieces {
  TracedText text;
  std::vector<Span> spans;  // none is empty
};

// text: what lies between two added tokens; first: it begins where the whole text does.
Pieces SplitText(const std::vector<SplitStep>& steps, TracedText text, bool first);

}  // namespace quantref
