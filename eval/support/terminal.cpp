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

std::optional<winsize> SizeOf(int descriptor) {
  winsize size{};
  if (::isatty(descriptor) != 1 || ::ioctl(descriptor, TIOCGWINSZ, &size) != 0) return std::nullopt;
  return size;
}

}  // namespace

std::optional<size_t> LineWidth(int descriptor) {
  if (const std::optional<size_t> told = Told()) return told;
  const std::optional<winsize> size = SizeOf(descriptor);
  return size && size->ws_col > 0 ? std::optional<size_t>(size->ws_col) : std::nullopt;
}

std::optional<ScreenSize> ScreenOf(int descriptor) {
  const std::optional<winsize> size = SizeOf(descriptor);
  if (!size || size->ws_col == 0 || size->ws_row == 0) return std::nullopt;
  return ScreenSize{size->ws_col, size->ws_row};
}

}  // namespace quantref
