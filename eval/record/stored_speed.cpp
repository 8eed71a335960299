#include "eval/record/stored_speed.h"

#include <fmt/format.h>

#include "eval/support/text_table.h"

namespace quantref {

std::string RateName::Text() const {
  return fmt::format("{} {}, {}", decode ? "decode" : "prefill", tokens, Plural(threads, "thread"));
}

std::string KernelName::Text() const {
  return fmt::format("{} {}x{}, M={}, {}{}", op, rows, cols, tokens, Plural(threads, "thread"),
                     streamed ? ", streamed" : "");
}

}  // namespace quantref
