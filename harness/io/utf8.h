#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace quantref {

// Where the first ill-formed sequence begins (byte offset), if the text is not valid UTF-8. Valid
// is what the Unicode Standard's table 3-7 lists: no overlong forms, no surrogates, nothing above
// U+10FFFF, no sequence cut short.
std::optional<size_t> FindInvalidUtf8(std::string_view text);

}  // namespace quantref
