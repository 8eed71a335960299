#pragma once

#include <string>
#include <string_view>

namespace quantref {

// What HTML pages and XML files are made of.

// Text as it stands in elements and between double quotes: what means something there is escaped,
// and what is not printable is as Printable() has it.
std::string MarkupText(const std::string& text);

// RFC 4648, padded.
std::string Base64(std::string_view bytes);

}  // namespace quantref
