#pragma once

#include <string>

namespace quantref {

// True where the shell-style pattern (*, ?, [a-z]) matches the whole name.
bool GlobMatches(const std::string& pattern, const std::string& name);

}  // namespace quantref
