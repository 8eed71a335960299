#include "eval/config/config_key.h"

#include <fmt/format.h>

#include <cmath>

namespace quantref {

size_t CountLimit(double bound) {
  constexpr size_t kMost = ~size_t{0} / 2;
  return bound >= kMostSeed ? kMost : static_cast<size_t>(bound);
}

std::string ConfigKey::Values() const {
  std::string values =
      kind == Kind::kFlag ? "true, false" : fmt::format("{}", fmt::join(words, ", "));
  if (kind == Kind::kCount || kind == Kind::kNumber) {
    const auto shown = [](double x) {
      return x >= kMostSeed ? std::string("2^63-1") : fmt::format("{}", x);
    };
    std::string range = std::isinf(most) ? fmt::format("above {}", least)
                        : above_least    ? fmt::format("above {} to {}", least, shown(most))
                                         : fmt::format("{} to {}", least, shown(most));
    if (!unit.empty()) range += " " + unit;
    values = range + (values.empty() ? "" : ", or " + values);
  }
  if (kind == Kind::kText) values = "text";
  if (kind == Kind::kMaps) values = "maps";
  return list ? "list: " + values : values;
}

}  // namespace quantref
