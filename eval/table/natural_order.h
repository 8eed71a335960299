#pragma once

#include <string>

namespace quantref {

// Text order, but numbers by size: "a2" before "a10".
bool NaturallyLess(const std::string& a, const std::string& b);

}  // namespace quantref
