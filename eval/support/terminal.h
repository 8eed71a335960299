#pragma once

#include <cstddef>
#include <optional>

namespace quantref {

// What the terminal of that stream shows at a time; nothing where it is none, or does not say.
struct ScreenSize {
  size_t columns, lines;
};
std::optional<ScreenSize> ScreenOf(int descriptor);

// How many characters a line of that stream holds: what COLUMNS says, else the terminal; nothing
// where there is neither (files and pipes take lines of any length).
std::optional<size_t> LineWidth(int descriptor);

}  // namespace quantref
