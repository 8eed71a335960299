#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "harness/tokenizer/traced_text.h"

namespace quantref {

// A regular expression as tokenizers have it: Oniguruma's syntax, as far as PCRE2 (10.42, Unicode
// properties, JIT) gives it the same meaning. Cheap to copy; threads may share it.
class Pattern {
 public:
  // Throws Error, at `where`, where the expression does not compile or would mean something else.
  static Pattern Regex(std::string_view expression, const std::string& where);
  static Pattern Text(std::string_view text);  // as it stands

  bool MayMatchNothing() const;  // a text of no bytes
  bool IsCharacter() const;      // one character as it stands

  // All matches in valid UTF-8, from left to right, none within another. Throws Error where it
  // backtracks without end.
  std::vector<Span> FindAll(std::string_view text) const;

 private:
  struct Compiled;
  Pattern() = default;

  std::string source_, where_;
  std::shared_ptr<const Compiled> compiled_;  // of Regex alone
};

}  // namespace quantref
