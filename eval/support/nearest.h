#pragma once

#include <span>
#include <string>
#include <string_view>

namespace quantref {

// The valid name that a user most likely meant by `name`, or "" when none is near. Near means:
// equal but for case, a common start (the shorter name is a prefix of at least 3 characters of the
// longer), or an edit distance of at most a third of the longer name. Of equally near names the
// first wins.
std::string NearestName(std::string_view name, std::span<const std::string> valid);

// The tail of an "unknown name" message: " (did you mean 'x'?)", or " (valid: a, b, c)" when none
// is near, or "" when there is nothing valid.
std::string DidYouMean(std::string_view name, std::span<const std::string> valid);

// Damerau-Levenshtein distance in bytes, where no part is edited twice (optimal string alignment):
// the fewest insertions, deletions, substitutions and swaps of neighbours.
size_t EditDistance(std::string_view a, std::string_view b);

}  // namespace quantref
