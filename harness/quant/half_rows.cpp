#include "harness/quant/half_rows.h"

#include <bit>
#include <cstddef>
#include <cstdint>

#include "harness/base/sha256.h"

namespace quantref {

void RoundToHalves(std::span<float> values) {
  // FP16's normal numbers have 13 bits of mantissa less than FP32's, the others are multiples of
  // 2^-24, as FP32 numbers near 0.75 are. Without a branch, so that the loop is done in vectors.
  constexpr uint32_t kLostBits = 13, kLost = (1u << kLostBits) - 1, kSign = 0x80000000u;
  constexpr int32_t kLeastNormal = std::bit_cast<int32_t>(0x1p-14f);
  constexpr float kAsCoarse = 0.75f;
  for (size_t i = 0; i < values.size(); ++i) {
    const uint32_t bits = std::bit_cast<uint32_t>(values[i]), sign = bits & kSign;
    const uint32_t even = bits >> kLostBits & 1;
    const uint32_t normal = (bits + (kLost >> 1) + even) & ~kLost;
    const float small = (std::bit_cast<float>(bits ^ sign) + kAsCoarse) - kAsCoarse;
    const uint32_t is_small = static_cast<int32_t>(bits ^ sign) < kLeastNormal ? ~0u : 0u;
    values[i] = std::bit_cast<float>(((std::bit_cast<uint32_t>(small) | sign) & is_small) |
                                     (normal & ~is_small));
  }
}

std::string HalfRows::Sha256() const { return Sha256Hex("halves of " + exact_->Sha256()); }

}  // namespace quantref
