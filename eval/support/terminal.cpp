#include "eval/support/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <string_view>

namespace quantref {
namespace {

// Of COLUMNS: what is beyond is a mistake, and as good as none.
constexpr size_t kNarrowest = 20, kWidest = 10000;

std::optional<size_t> Told() {
  const char* variable = std::getenv("COLUMNS");
  if (variable == nullptr) return std::nullopt;
  const std::string_view text = variable;
  size_t width = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), width);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  return whole && width >= kNarrowest && width <= kWidest ? std::optional(width) : std::nullopt;
}

}  // namespace

std::optional<size_t> LineWidth(int descriptor) {
  if (const std::optional<size_t> told = Told()) return told;
  winsize size{};
  if (::isatty(descriptor) != 1 || ::ioctl(descriptor, TIOCGWINSZ, &size) != 0) return std::nullopt;
  return size.ws_col == 0 ? std::nullopt : std::optional<size_t>(size.ws_col);
}

}  // namespace quantref
