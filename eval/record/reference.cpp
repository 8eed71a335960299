#include "eval/record/reference.h"

#include <algorithm>
#include <cctype>

namespace quantref {
namespace {

constexpr std::string_view kTypeNames[] = {kFp16Name, "bf16", "fp32"};

// Tables print FP16 where records say fp16: nothing else may look like it.
bool SameLetters(std::string_view a, std::string_view b) {
  const auto lower = [](unsigned char c) { return std::tolower(c); };
  return std::ranges::equal(a, b, {}, lower, lower);
}

}  // namespace

bool IsReferenceName(std::string_view name) {
  for (size_t at = 0;;) {
    const size_t end = std::min(name.find('+', at), name.size());
    const std::string_view part = name.substr(at, end - at);
    if (std::ranges::none_of(kTypeNames,
                             [&](std::string_view type) { return SameLetters(type, part); }))
      return false;
    if (end == name.size()) return true;
    at = end + 1;
  }
}

bool MeansReference(std::string_view name) {
  return name == kAnyReference || IsReferenceName(name);
}

}  // namespace quantref
