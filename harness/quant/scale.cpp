#include "harness/quant/scale.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/base/half.h"

namespace quantref {

const char* ScaleTypeName(ScaleType type) { return type == ScaleType::kFp16 ? "fp16" : "fp32"; }

size_t ScaleBytes(ScaleType type) {
  return type == ScaleType::kFp16 ? sizeof(uint16_t) : sizeof(float);
}

float LargestScale(ScaleType type, int exponent) {
  return type == ScaleType::kFp16 ? std::ldexp(kMaxHalf, exponent)
                                  : std::numeric_limits<float>::max();
}

int ChooseExponent(std::span<const float> wanted, ScaleType type) {
  if (type != ScaleType::kFp16) return 0;
  constexpr int kLeastNormal = -14, kMostShifted = 11;  // logarithms of FP16 numbers
  float least = std::numeric_limits<float>::infinity(), most = 0;
  for (const float scale : wanted) {
    if (scale > 0) least = std::min(least, scale);
    most = std::max(most, scale);
  }
  if (most == 0 || std::ilogb(least) >= kLeastNormal) return 0;
  const int shift =
      std::min({kLeastNormal - std::ilogb(least), kMostShifted - std::ilogb(most), kMostExponent});
  if (std::ilogb(most) + shift < kLeastNormal) {
    throw Error(fmt::format("a scale of {} does not fit FP16 times 2^-{} (at least {})", most,
                            kMostExponent, std::ldexp(1.0, kLeastNormal - kMostExponent)),
                "weights");
  }
  return -std::max(shift, 0);
}

float RoundScale(float wanted, ScaleType type, int exponent) {
  const float stored =
      type == ScaleType::kFp16 ? RoundToHalf(std::ldexp(wanted, -exponent)) : wanted;
  const float most = type == ScaleType::kFp16 ? kMaxHalf : std::numeric_limits<float>::max();
  if (!(stored <= most)) {  // a NaN too
    throw Error(fmt::format("a scale of {} does not fit {} (at most {})", wanted,
                            type == ScaleType::kFp16 ? "FP16" : "FP32", std::ldexp(most, exponent)),
                "weights");
  }
  return std::ldexp(stored, exponent);
}

void StoreScale(float scale, ScaleType type, int exponent, uint8_t* bytes) {
  if (type == ScaleType::kFp32) {
    std::memcpy(bytes, &scale, sizeof(scale));
    return;
  }
  const float shifted = std::ldexp(scale, -exponent);
  QR_DCHECK_EQ(RoundToHalf(shifted), shifted);
  const uint16_t half = FloatToHalf(shifted);
  std::memcpy(bytes, &half, sizeof(half));
}

float LoadScale(const uint8_t* bytes, ScaleType type, int exponent) {
  if (type == ScaleType::kFp32) {
    float scale = 0;
    std::memcpy(&scale, bytes, sizeof(scale));
    return scale;
  }
  uint16_t half = 0;
  std::memcpy(&half, bytes, sizeof(half));
  return std::ldexp(HalfToFloat(half), exponent);
}

}  // namespace quantref
