#include "harness/quant/format.h"

#include <algorithm>

namespace quantref {

constexpr NumberFormat kIntFormat = {.name = "int",
                                     .about = "evenly spaced integers, with or without zero point",
                                     .zero = ZeroKind::kCode};

namespace {

constexpr const NumberFormat* kFormats[] = {&kIntFormat};

}  // namespace

std::span<const NumberFormat* const> NumberFormats() { return kFormats; }

const NumberFormat* FindFormat(std::string_view name) {
  const auto found = std::find_if(std::begin(kFormats), std::end(kFormats),
                                  [&](const NumberFormat* format) { return format->name == name; });
  return found == std::end(kFormats) ? nullptr : *found;
}

}  // namespace quantref
