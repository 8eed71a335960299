#pragma once

#include <string>
#include <string_view>

namespace quantref {

// An expression in the syntax of tokenizer.json (Oniguruma's, of Ruby) as one in which PCRE2
// (10.42; UTF, UCP, MULTILINE) finds the same. Throws Error, at `where`, for what PCRE2 has no
// equal of; what does not compile may be left for it to find.
std::string ForPcre2(std::string_view expression, const std::string& where);

}  // namespace quantref
