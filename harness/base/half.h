#pragma once

#include <cstdint>

namespace quantref {

// IEEE binary16 and bfloat16 as bit patterns. These scalar functions are the specification; the
// vector versions in harness/kernels are tested against them over all 65,536 patterns.

float HalfToFloat(uint16_t half);    // exact
float BFloatToFloat(uint16_t bits);  // exact

// To nearest, ties to even; overflow gives infinity, NaN stays a (quiet) NaN.
uint16_t FloatToHalf(float value);

// The FP16 number nearest to value, as a float.
inline float RoundToHalf(float value) { return HalfToFloat(FloatToHalf(value)); }

inline constexpr float kMaxHalf = 65504.0f;

}  // namespace quantref
