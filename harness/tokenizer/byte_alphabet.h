#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace quantref {

// GPT-2's alphabet of bytes: those that print in Latin-1 (33-126, 161-172, 174-255) are the
// characters of the same number, the others in rising order U+0100 and on.

// The bytes that a text of the alphabet writes; nothing where one of its characters, in valid
// UTF-8, is none of it.
std::optional<std::string> BytesOfAlphabet(std::string_view text);

}  // namespace quantref
