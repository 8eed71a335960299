#pragma once

#include <fmt/format.h>

#include <string_view>

namespace quantref {

// Messages, on standard error. One that cannot be written (closed, a full disk) is lost and never
// ends a run.
void SayText(std::string_view text) noexcept;

template <typename... Args>
void Say(fmt::format_string<Args...> format, Args&&... args) {
  SayText(fmt::format(format, std::forward<Args>(args)...));
}

// Writes to standard output, where results go, and sees to it that they arrive: throws
// std::system_error where they do not.
void PrintWhole(std::string_view text);

}  // namespace quantref
