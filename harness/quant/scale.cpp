#include "harness/quant/scale.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/base/half.h"
#include "harness/quant/dynamic_map.h"
#include "harness/quant/float8.h"

namespace quantref {
namespace {

constexpr int kE8m0Bias = 127, kMostE8m0 = 254;

[[noreturn]] void RefuseScale(float wanted, const char* type, float most) {
  throw Error(fmt::format("a scale of {} does not fit {} (at most {})", wanted, type, most),
              "weights");
}

uint16_t HalfOf(float wanted, int exponent) {
  const float shifted = RoundToHalf(std::ldexp(wanted, -exponent));
  if (!(shifted <= kMaxHalf)) RefuseScale(wanted, "FP16", std::ldexp(kMaxHalf, exponent));
  return FloatToHalf(shifted);
}

uint8_t E8m0Of(float wanted) {
  if (!std::isfinite(wanted)) RefuseScale(wanted, "E8M0", std::ldexp(1.0f, kE8m0Bias));
  const int power = wanted > 0 ? std::ilogb(wanted) : -kE8m0Bias;
  return static_cast<uint8_t>(std::clamp(power + kE8m0Bias, 0, kMostE8m0));
}

uint8_t E4m3Of(float wanted, float divisor) {
  if (std::isnan(wanted)) RefuseScale(wanted, "E4M3", kLargestE4m3 / divisor);
  return static_cast<uint8_t>(E4m3Levels().Nearest(divisor * wanted));
}

float Dynamic(size_t code, const ScaleUnit& unit) {
  return DynamicMap()[code] * unit.factor + unit.offset;
}

// The code of the nearest number of the map, as bitsandbytes finds it on GPUs: from the product
// with the inverse. (Its kernel for CPUs looks quotients up in steps of 2^-15, and takes a
// neighbour now and then.) Of a scale that was loaded the quotient may lie a rounding away from its
// code's number: then a neighbour loads as it.
uint8_t DynamicOf(float wanted, const ScaleUnit& unit) {
  if (!std::isfinite(wanted)) RefuseScale(wanted, "FP32", std::numeric_limits<float>::max());
  constexpr float kLeast = 1e-38f;  // its inverse is finite
  const float quotient = (wanted - unit.offset) * (1 / std::max(unit.factor, kLeast));
  const size_t nearest = DynamicMap().Nearest(quotient);
  if (Dynamic(nearest, unit) == wanted) return static_cast<uint8_t>(nearest);
  if (nearest > 0 && Dynamic(nearest - 1, unit) == wanted) return static_cast<uint8_t>(nearest - 1);
  const bool above = nearest + 1 < DynamicMap().size() && Dynamic(nearest + 1, unit) == wanted;
  return static_cast<uint8_t>(nearest + (above ? 1 : 0));
}

template <typename T>
T Load(const uint8_t* bytes) {
  T number{};
  std::memcpy(&number, bytes, sizeof(number));
  return number;
}

}  // namespace

const char* ScaleTypeName(ScaleType type) {
  constexpr const char* kNames[] = {"fp16", "fp32", "e8m0", "e4m3", "dynamic8"};
  return kNames[static_cast<size_t>(type)];
}

size_t ScaleBytes(ScaleType type) {
  if (type == ScaleType::kFp16) return sizeof(uint16_t);
  return type == ScaleType::kFp32 ? sizeof(float) : sizeof(uint8_t);
}

ScaleUnit ScaleFrame::UnitOf(size_t scale) const {
  if (absmax.empty()) return {exponent, divisor, mean};
  return {exponent, absmax[scale / kNestedBlock], mean};
}

size_t FrameBits(ScaleType type, size_t scales) {
  constexpr size_t kFloatBits = 8 * sizeof(float);
  if (type == ScaleType::kE4m3) return kFloatBits;
  if (type != ScaleType::kDynamic8) return 0;
  return kFloatBits * (1 + (scales + kNestedBlock - 1) / kNestedBlock);
}

float LargestScale(ScaleType type, const ScaleUnit& unit) {
  if (type == ScaleType::kFp16) return std::ldexp(kMaxHalf, unit.exponent);
  if (type == ScaleType::kE8m0) return std::ldexp(1.0f, kE8m0Bias);
  return std::numeric_limits<float>::max();
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

ScaleFrame ChooseNested(std::span<const float> wanted) {
  ScaleFrame frame;
  double sum = 0;
  for (const float scale : wanted) sum += static_cast<double>(scale);
  frame.mean = static_cast<float>(sum / static_cast<double>(wanted.size()));
  frame.absmax.resize((wanted.size() + kNestedBlock - 1) / kNestedBlock);
  for (size_t i = 0; i < wanted.size(); ++i) {
    float& absmax = frame.absmax[i / kNestedBlock];
    absmax = std::max(absmax, std::fabs(wanted[i] - frame.mean));
  }
  return frame;
}

void StoreScale(float wanted, ScaleType type, const ScaleUnit& unit, uint8_t* bytes) {
  switch (type) {
    case ScaleType::kFp16: {
      const uint16_t half = HalfOf(wanted, unit.exponent);
      std::memcpy(bytes, &half, sizeof(half));
      return;
    }
    case ScaleType::kFp32:
      if (!std::isfinite(wanted)) RefuseScale(wanted, "FP32", std::numeric_limits<float>::max());
      std::memcpy(bytes, &wanted, sizeof(wanted));
      return;
    case ScaleType::kE8m0:
      *bytes = E8m0Of(wanted);
      return;
    case ScaleType::kE4m3:
      *bytes = E4m3Of(wanted, unit.factor);
      return;
    case ScaleType::kDynamic8:
      *bytes = DynamicOf(wanted, unit);
      return;
  }
  QR_CHECK(false);
}

float LoadScale(const uint8_t* bytes, ScaleType type, const ScaleUnit& unit) {
  switch (type) {
    case ScaleType::kFp16:
      return std::ldexp(HalfToFloat(Load<uint16_t>(bytes)), unit.exponent);
    case ScaleType::kFp32:
      return Load<float>(bytes);
    case ScaleType::kE8m0:
      return std::ldexp(1.0f, *bytes - kE8m0Bias);
    case ScaleType::kE4m3:
      return E4m3Levels()[*bytes] / unit.factor;
    case ScaleType::kDynamic8:
      return Dynamic(*bytes, unit);
  }
  QR_CHECK(false);
  return 0;
}

float RoundScale(float wanted, ScaleType type, const ScaleUnit& unit) {
  uint8_t bytes[sizeof(float)];
  StoreScale(wanted, type, unit, bytes);
  return LoadScale(bytes, type, unit);
}

}  // namespace quantref
