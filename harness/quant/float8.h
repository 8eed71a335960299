#pragma once

#include <array>
#include <cstddef>

#include "harness/quant/levels.h"

namespace quantref {

// The numbers of the 8-bit floats of OCP's OFP8 1.0 by code: a sign, `exponent_bits` with the bias
// 2^(exponent_bits - 1) - 1, a mantissa, subnormal numbers. Codes that are no finite number are
// given the largest one of their sign, so that rounding never gives them (LevelTable).
//   E4M3 (fn)  no infinities, NaN 0x7f and 0xff, largest 448
//   E5M2       infinities 0x7c and 0xfc, NaN above them, largest 57344
constexpr std::array<float, 256> Float8Numbers(int exponent_bits, unsigned largest_code) {
  const int mantissa_bits = 7 - exponent_bits, bias = (1 << (exponent_bits - 1)) - 1;
  std::array<float, 256> numbers{};
  for (unsigned code = 0; code < numbers.size(); ++code) {
    const unsigned magnitude = (code & 0x7fu) < largest_code ? code & 0x7fu : largest_code;
    const int exponent = static_cast<int>(magnitude >> mantissa_bits);
    const int mantissa = static_cast<int>(magnitude & ((1u << mantissa_bits) - 1));
    float number = static_cast<float>(exponent == 0 ? mantissa : mantissa + (1 << mantissa_bits));
    for (int power = (exponent == 0 ? 1 : exponent) - bias - mantissa_bits; power != 0;
         power += power < 0 ? 1 : -1)
      number *= power < 0 ? 0.5f : 2.0f;
    numbers[code] = code < 0x80u ? number : -number;
  }
  return numbers;
}

inline constexpr std::array<float, 256> kE4m3Numbers = Float8Numbers(4, 0x7e);
inline constexpr std::array<float, 256> kE5m2Numbers = Float8Numbers(5, 0x7b);

const LevelTable& E4m3Levels();  // ties to the even mantissa

}  // namespace quantref
