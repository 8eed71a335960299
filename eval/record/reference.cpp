#include "eval/record/reference.h"

#include <algorithm>

namespace quantref {
namespace {

constexpr std::string_view kTypeNames[] = {kFp16Name, "bf16", "fp32"};

}  // namespace

bool IsReferenceName(std::string_view name) {
  for (size_t at = 0;;) {
    const size_t end = std::min(name.find('+', at), name.size());
    const std::string_view part = name.substr(at, end - at);
    if (std::find(std::begin(kTypeNames), std::end(kTypeNames), part) == std::end(kTypeNames))
      return false;
    if (end == name.size()) return true;
    at = end + 1;
  }
}

bool MeansReference(std::string_view name) {
  return name == kAnyReference || IsReferenceName(name);
}

}  // namespace quantref
