#pragma once

#include <cstddef>
#include <functional>
#include <string>

namespace quantref {

// Checks of what stands behind an option: "" where it is right, else what is expected and what was
// found. Who asks names the option.
using ValueCheck = std::function<std::string(const std::string&)>;
ValueCheck WholeNumber(size_t least, size_t most);
ValueCheck Number(double least, double most);

// No option and no argument takes "": an unset variable of a script is no path and no name. Throws
// an Error that names the option.
inline constexpr char kNothingFound[] = "expected something, found \"\"";
void RefuseEmptyArguments(int argc, const char* const* argv);

}  // namespace quantref
