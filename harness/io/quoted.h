#pragma once

#include <string>
#include <string_view>

namespace quantref {

// The text as a JSON string literal, for messages: control characters escaped, invalid UTF-8
// replaced, long text cut.
std::string Quoted(std::string_view text);

}  // namespace quantref
