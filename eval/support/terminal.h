#pragma once

#include <cstddef>
#include <optional>

namespace quantref {

// How many characters a line of that stream holds: what COLUMNS says, else the terminal; nothing
// where there is neither (files and pipes take lines of any length).
std::optional<size_t> LineWidth(int descriptor);

}  // namespace quantref
