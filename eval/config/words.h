#pragma once

#include <span>
#include <string_view>

namespace quantref {

// What other tools call things, for those who come from them.
struct FieldWord {
  std::string_view word;  // in lower case, '-' as '_'
  std::string_view key;   // ours; "": none
  std::string_view note;  // what there is instead, or more about the key
};

std::span<const FieldWord> FieldWords();

// The word's entry, however it is spelled; nullptr where nobody uses it.
const FieldWord* FindFieldWord(std::string_view word);

}  // namespace quantref
