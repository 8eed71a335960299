#pragma once

#include <bit>
#include <cstddef>
#include <span>
#include <string_view>

#include "harness/quant/levels.h"
#include "harness/quant/scale.h"
#include "harness/quant/scheme.h"

namespace quantref {

// What stands beside a scale: nothing, or where the scheme is asymmetric the code of the value 0.
enum class ZeroKind { kNone, kCode };

// A number format as one row of data: what codes mean, and what their scales are. A config chooses
// one by name and adds what the row leaves open (WeightScheme). A new one is a row in format.cpp.
struct NumberFormat {
  std::string_view name;   // as configs and tables name it
  std::string_view about;  // one line
  // What codes stand for, in units of the scale; none: they are evenly spaced, with as many bits as
  // the config says, by the arithmetic of affine.h.
  LevelTable levels{};
  ScaleType scale = ScaleType::kFp16;
  ZeroKind zero = ZeroKind::kNone;
  size_t group = 128;  // inputs that share a scale, unless the config says otherwise

  constexpr bool affine() const { return levels.empty(); }
  // Of a code; 0: as the config says.
  constexpr int bits() const {
    return affine() ? 0 : static_cast<int>(std::bit_width(levels.size() - 1));
  }
};

// The format's scheme where a config says no more than its name.
WeightScheme SchemeOf(const NumberFormat& format);

// All that configs can name; kIntFormat, the default, is one of them.
std::span<const NumberFormat* const> NumberFormats();
const NumberFormat* FindFormat(std::string_view name);  // nullptr: there is none

}  // namespace quantref
