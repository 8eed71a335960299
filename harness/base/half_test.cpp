#include "harness/base/half.h"

#include <bit>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <limits>

namespace quantref {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr uint16_t kHalfInfinity = 0x7c00;
constexpr uint16_t kSignBit = 0x8000;

uint32_t Bits(float value) { return std::bit_cast<uint32_t>(value); }

// The magnitude of a positive FP16 pattern from the format's definition. Infinity's pattern gives
// 2^16, the number that would follow the largest: rounding treats it so.
double Magnitude(int pattern) {
  const int exponent = pattern >> 10;
  const int mantissa = pattern & 0x3ff;
  if (exponent == 0) return std::ldexp(mantissa, -24);
  return std::ldexp(1024 + mantissa, exponent - 25);
}

TEST_CASE("half: every finite FP16 pattern converts exactly", "[half]") {
  for (int pattern = 0; pattern < kHalfInfinity; ++pattern) {
    const float expected = static_cast<float>(Magnitude(pattern));
    const float positive = HalfToFloat(static_cast<uint16_t>(pattern));
    const float negative = HalfToFloat(static_cast<uint16_t>(pattern | kSignBit));
    if (Bits(positive) != Bits(expected)) FAIL("pattern " << pattern << ": " << positive);
    if (Bits(negative) != Bits(-expected)) FAIL("pattern " << pattern << " negated: " << negative);
  }
  CHECK(HalfToFloat(0x3c00) == 1.0f);
  CHECK(HalfToFloat(0x0001) == 0x1p-24f);
  CHECK(HalfToFloat(0x7bff) == kMaxHalf);
}

TEST_CASE("half: infinities and every NaN pattern convert", "[half]") {
  CHECK(HalfToFloat(kHalfInfinity) == kInfinity);
  CHECK(HalfToFloat(kHalfInfinity | kSignBit) == -kInfinity);
  for (int pattern = kHalfInfinity + 1; pattern < kSignBit; ++pattern) {
    const float positive = HalfToFloat(static_cast<uint16_t>(pattern));
    const float negative = HalfToFloat(static_cast<uint16_t>(pattern | kSignBit));
    if (!std::isnan(positive) || std::signbit(positive)) FAIL("pattern " << pattern);
    if (!std::isnan(negative) || !std::signbit(negative)) FAIL("pattern " << pattern << " negated");
  }
}

TEST_CASE("half: every number and infinity survives the round trip", "[half]") {
  for (int pattern = 0; pattern <= 0xffff; ++pattern) {
    const uint16_t half = static_cast<uint16_t>(pattern);
    const float value = HalfToFloat(half);
    if (std::isnan(value)) {
      // A quiet NaN comes back as it was; a signalling one is made quiet.
      if (FloatToHalf(value) != (half | 0x0200)) FAIL("NaN pattern " << pattern);
    } else {
      if (FloatToHalf(value) != half) FAIL("pattern " << pattern);
      if (Bits(RoundToHalf(value)) != Bits(value)) FAIL("rounding pattern " << pattern);
    }
  }
}

void RequireHalf(float value, int expected) {
  if (FloatToHalf(value) != expected) FAIL(value << " gives pattern " << FloatToHalf(value));
  if (FloatToHalf(-value) != (expected | kSignBit)) {
    FAIL(-value << " gives pattern " << FloatToHalf(-value));
  }
}

TEST_CASE("half: rounds to nearest, and to even half-way, between all neighbours", "[half]") {
  for (int below = 0; below < kHalfInfinity; ++below) {
    const int above = below + 1;  // infinity after the largest number
    const double exact = (Magnitude(below) + Magnitude(above)) / 2;
    const float midpoint = static_cast<float>(exact);
    REQUIRE(static_cast<double>(midpoint) == exact);
    RequireHalf(midpoint, below % 2 == 0 ? below : above);
    RequireHalf(std::nextafter(midpoint, 0.0f), below);
    RequireHalf(std::nextafter(midpoint, kInfinity), above);
    const float number = static_cast<float>(Magnitude(below));
    if (below > 0) RequireHalf(std::nextafter(number, 0.0f), below);
    RequireHalf(std::nextafter(number, kInfinity), below);
  }
}

TEST_CASE("half: overflow begins half-way between 65504 and 65536", "[half]") {
  CHECK(FloatToHalf(65504.0f) == 0x7bff);
  CHECK(FloatToHalf(65519.996f) == 0x7bff);
  CHECK(FloatToHalf(65520.0f) == kHalfInfinity);
  CHECK(FloatToHalf(65535.0f) == kHalfInfinity);
  CHECK(FloatToHalf(65536.0f) == kHalfInfinity);
  CHECK(FloatToHalf(std::numeric_limits<float>::max()) == kHalfInfinity);
  CHECK(FloatToHalf(-65519.996f) == (0x7bff | kSignBit));
  CHECK(FloatToHalf(-65520.0f) == (kHalfInfinity | kSignBit));
  CHECK(FloatToHalf(kInfinity) == kHalfInfinity);
  CHECK(FloatToHalf(-kInfinity) == (kHalfInfinity | kSignBit));
}

TEST_CASE("half: underflow keeps the sign and ends at 2^-25", "[half]") {
  CHECK(FloatToHalf(0.0f) == 0);
  CHECK(FloatToHalf(-0.0f) == kSignBit);
  CHECK(FloatToHalf(0x1p-25f) == 0);  // half-way to the smallest number: to even
  CHECK(FloatToHalf(std::nextafter(0x1p-25f, 1.0f)) == 1);
  CHECK(FloatToHalf(std::numeric_limits<float>::denorm_min()) == 0);
  CHECK(FloatToHalf(-std::numeric_limits<float>::denorm_min()) == kSignBit);
}

TEST_CASE("half: a NaN stays a quiet NaN of its sign, whatever its payload", "[half]") {
  for (uint32_t payload : {1u, 0x1000u, 0x1fffu, 0x2000u, 0x400000u, 0x7fffffu}) {
    for (uint32_t sign : {0u, 0x80000000u}) {
      const uint16_t half = FloatToHalf(std::bit_cast<float>(sign | 0x7f800000u | payload));
      INFO("payload " << payload << ", sign " << sign << ": pattern " << half);
      CHECK((half & 0x7e00) == 0x7e00);
      CHECK((half >> 15) == (sign >> 31));
    }
  }
}

TEST_CASE("half: every BF16 pattern is the upper half of its float", "[half]") {
  for (int pattern = 0; pattern <= 0xffff; ++pattern) {
    const float value = BFloatToFloat(static_cast<uint16_t>(pattern));
    if (Bits(value) != static_cast<uint32_t>(pattern) * 65536u) FAIL("pattern " << pattern);
  }
  CHECK(BFloatToFloat(0x3f80) == 1.0f);
  CHECK(BFloatToFloat(0xc049) == -3.140625f);
}

}  // namespace
}  // namespace quantref
