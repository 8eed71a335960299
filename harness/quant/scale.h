#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace quantref {

// How a matrix stores its scales, all of which are >= 0.
//   kFp16  FP16 numbers times 2^exponent, with one exponent for all scales of a matrix: 0 where
//   none
//          of them but 0 is below 2^-14, the least normal FP16 number; else the largest that makes
//          the least of them normal, or, where they lie too far apart for that, that leaves the
//          largest of them in [2^11, 2^12) times 2^exponent.
//   kFp32  as they are; the exponent is 0.
enum class ScaleType { kFp16, kFp32 };

// Of an exponent that is not 0.
inline constexpr size_t kExponentBits = 8;
inline constexpr int kMostExponent = 80;  // its magnitude

const char* ScaleTypeName(ScaleType type);  // "fp16"
size_t ScaleBytes(ScaleType type);

// The largest scale.
float LargestScale(ScaleType type, int exponent);

// The exponent of a matrix with these scales, not yet rounded. Throws Error where they are all too
// small for any.
int ChooseExponent(std::span<const float> wanted, ScaleType type);

// The scale as it is stored. Throws Error where it is NaN or too large.
float RoundScale(float wanted, ScaleType type, int exponent);

// ScaleBytes bytes, and back; the scale is one that RoundScale gives.
void StoreScale(float scale, ScaleType type, int exponent, uint8_t* bytes);
float LoadScale(const uint8_t* bytes, ScaleType type, int exponent);

}  // namespace quantref
