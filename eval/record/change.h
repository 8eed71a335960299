#pragma once

#include <string>

namespace quantref {

// A value that is another than it was.
struct Change {
  std::string what;  // its dotted path
  std::string baseline, candidate;

  bool operator==(const Change&) const = default;
};

// For reading: of a SHA-256 or a commit the first 12 digits; anything else as it is.
std::string ShortHash(const std::string& value);

}  // namespace quantref
