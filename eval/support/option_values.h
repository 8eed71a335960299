#pragma once

#include <cstddef>
#include <functional>
#include <string>

namespace CLI {
class App;
}

namespace quantref {

// Checks of what stands behind an option: "" where it is right, else what is expected and what was
// found. For CLI::Option::check, which names the option.
using ValueCheck = std::function<std::string(const std::string&)>;
ValueCheck WholeNumber(size_t least, size_t most);
ValueCheck Number(double least, double most);

// No option and no argument takes "": an unset variable of a script is no path and no name. CLI11
// names the option before it parses; what it would pass over, because a value is optional there, is
// an Error afterwards.
void RefuseEmptyValues(CLI::App& app);
void RefuseEmptyArguments(int argc, const char* const* argv);

}  // namespace quantref
