#include "eval/support/option_values.h"

#include <fmt/format.h>

#include <charconv>
#include <string_view>

#include "harness/base/error.h"

namespace quantref {
namespace {

template <typename T>
bool Parse(const std::string& text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

// CLI11 reads 010 as 8.
bool LooksOctal(const std::string& text) {
  return text.size() > 1 && text[0] == '0' && text.find_first_not_of("0123456789") == text.npos;
}

}  // namespace

ValueCheck WholeNumber(size_t least, size_t most) {
  return [=](const std::string& text) {
    size_t value = 0;
    const bool is_right =
        Parse(text, value) && value >= least && value <= most && !LooksOctal(text);
    return is_right ? ""
                    : fmt::format("expected a whole number from {} to {}, found '{}'", least, most,
                                  text);
  };
}

ValueCheck Number(double least, double most) {
  return [=](const std::string& text) {
    double value = 0;
    const bool is_right = Parse(text, value) && value >= least && value <= most;  // NaN is neither
    return is_right ? ""
                    : fmt::format("expected a number from {} to {}, found '{}'", least, most, text);
  };
}

void RefuseEmptyArguments(int argc, const char* const* argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.empty()) throw Error(kNothingFound, argv[i - 1]);
    if (argument.starts_with("--") && argument.find('=') == argument.size() - 1)
      throw Error(kNothingFound, std::string(argument.substr(0, argument.size() - 1)));
  }
}

}  // namespace quantref
