#include "harness/quant/half_rows.h"

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "harness/base/sha256.h"

namespace quantref {

void RoundToHalves(std::span<float> values) {
  // FP16's normal numbers have 13 bits of mantissa less than FP32's, the others are multiples of
  // 2^-24, as FP32 numbers near 0.75 are. Without a branch, so that the loop is done in vectors.
  constexpr uint32_t kLostBits = 13, kLost = (1u << kLostBits) - 1;
  constexpr float kLeastNormal = 0x1p-14f, kAsCoarse = 0.75f;
  for (size_t i = 0; i < values.size(); ++i) {
    const uint32_t bits = std::bit_cast<uint32_t>(values[i]), sign = bits & 0x80000000u;
    const uint32_t even = bits >> kLostBits & 1;
    const float normal = std::bit_cast<float>((bits + (kLost >> 1) + even) & ~kLost);
    const float magnitude = std::bit_cast<float>(bits ^ sign);
    const float small = (magnitude + kAsCoarse) - kAsCoarse;
    const float with_sign = std::bit_cast<float>(std::bit_cast<uint32_t>(small) | sign);
    values[i] = magnitude < kLeastNormal ? with_sign : normal;
  }
}

std::string HalfRows::Sha256() const { return Sha256Hex("halves of " + exact_->Sha256()); }

}  // namespace quantref
