#pragma once

#include <bit>
#include <cstddef>
#include <span>
#include <string_view>

#include "harness/quant/levels.h"
#include "harness/quant/scale.h"
#include "harness/quant/scheme.h"

namespace quantref {

// What stands beside a scale: nothing; where the scheme is asymmetric the code of the value 0; or
// an FP16 number in units of the scale that need be no code.
enum class ZeroKind { kNone, kCode, kHalf };

// How the scale of a table follows from the weights that share it, before it is rounded.
//   kAbsMax   the largest magnitude over the largest level
//   kPower    2^(floor(log2 of the largest magnitude) - floor(log2 of the largest level)), as in
//             OCP's Microscaling Formats 1.0, section 6.3: weights may lie beyond the largest level
//   kAbsMean  the mean magnitude (BitNet b1.58, Ma et al. 2024, eq. 3, without its epsilon)
enum class ScaleRule { kAbsMax, kPower, kAbsMean };

// A number format as one row of data: what codes mean, and what their scales are. A config chooses
// one by name and adds what the row leaves open (WeightScheme). A new one is a row in format.cpp.
struct NumberFormat {
  std::string_view name;   // as configs and tables name it
  std::string_view about;  // one line
  // What codes stand for, in units of the scale; none: they are evenly spaced, with as many bits as
  // the config says.
  LevelTable levels{};
  ScaleType scale = ScaleType::kFp16;
  ScaleRule rule = ScaleRule::kAbsMax;
  ZeroKind zero = ZeroKind::kNone;
  Granularity granularity = Granularity::kGroup;  // unless the config says otherwise
  size_t group = 128;                             // likewise: inputs that share a scale
  bool fixed_group = false;                       // the format is defined for groups of these alone
  // A weight is multiplied by the inverse of the scale (at least 1e-38), not divided by the scale:
  // the last bit of the quotient, as bitsandbytes has it.
  bool by_inverse = false;

  constexpr bool evenly_spaced() const { return levels.empty(); }
  // By the arithmetic of affine.h.
  constexpr bool affine() const { return evenly_spaced() && zero == ZeroKind::kCode; }
  // Of a code; 0: as the config says.
  constexpr int bits() const {
    return evenly_spaced() ? 0 : static_cast<int>(std::bit_width(levels.size() - 1));
  }
  // Whether scales may be quantized themselves (ScaleType::kDynamic8).
  constexpr bool allows_double_quant() const { return scale == ScaleType::kFp32; }
};

// The format's scheme where a config says no more than its name.
WeightScheme SchemeOf(const NumberFormat& format);

// All that configs can name; kIntFormat, the default, is one of them.
std::span<const NumberFormat* const> NumberFormats();
const NumberFormat* FindFormat(std::string_view name);  // nullptr: there is none

}  // namespace quantref
