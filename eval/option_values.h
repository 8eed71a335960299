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

// No option and no argument takes "": an unset variable of a script is no path and no name.
void RefuseEmptyValues(CLI::App& app);

}  // namespace quantref
