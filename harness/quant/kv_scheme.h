#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>

namespace quantref {

// How the keys and values of a cache are rounded, keys as attention compares them (normed and
// rotated), as KIVI has it (Liu et al. 2024, "KIVI: A Tuning-Free Asymmetric 2bit Quantization for
// KV Cache", section 4 and algorithm 1). Which of them a query sees rounded depends on its position
// alone, never on how the text was cut into calls.

// What numbers share a scale.
enum class KvReach {
  kChannel,  // of keys alone: a channel's, of `group` tokens
  kToken,    // a token's, of `group` channels of a head (the head's last may be fewer), or of all
             // heads (group 0)
  kHead,     // a token's, of a head
};

// Codes are held in blocks of so many, and groups are multiples of it.
inline constexpr size_t kKvBlock = 16;

struct KvScheme {
  int bits = 4;                                                // kMinBits..kMaxBits
  KvReach keys = KvReach::kChannel, values = KvReach::kToken;  // values: never kChannel
  size_t group = 64;       // a multiple of kKvBlock; 0: kToken's row, no keys by channel
  bool symmetric = false;  // no minimum is stored
  size_t residual = 0;     // of keys by channel: a multiple of `group`

  bool operator==(const KvScheme&) const = default;

  // Of the tokens that a query sees, itself the last of `seen`, the first so many are rounded.
  // Values, and keys by token or head: all but the last `residual`; with residual 0 the query's own
  // ones are, too. Keys by channel wait until `residual` of them (0: `group`) are together and are
  // rounded at once, a group of tokens at a time, the last of these tokens seeing them rounded.
  size_t RoundedValues(size_t seen) const { return seen - std::min(seen, residual); }
  size_t RoundedKeys(size_t seen) const {
    return keys == KvReach::kChannel ? seen / KeysAtOnce() * KeysAtOnce() : RoundedValues(seen);
  }
  size_t KeysAtOnce() const { return residual == 0 ? group : residual; }  // by channel
  // Tokens whose keys or values wait, at most.
  size_t MostWaiting() const {
    return keys == KvReach::kChannel ? std::max(residual, KeysAtOnce() - 1) : residual;
  }

  int Levels() const { return (1 << bits) - 1; }       // of asymmetric codes, beside 0
  int Limit() const { return (1 << (bits - 1)) - 1; }  // of symmetric ones
};

// As tables print it: "kv4 channel/token g64", "kv2 channel/token g32 r128", "kv8 head/head sym".
std::string KvName(const KvScheme& scheme);
const char* KvReachName(KvReach reach);

// What numbers with these extremes are rounded to, and a number's code. Scale and minimum are
// stored as FP16, and the stored ones round:
//   asymmetric  minimum = lo, scale = (hi - minimum) / (2^b - 1),
//               code = round(clamp((x - minimum) / scale, 0, 2^b - 1)), x' = minimum + scale * code
//   symmetric   scale = max(|lo|, |hi|) / L with L = 2^(b-1) - 1,
//               code = round(clamp(x / scale, -L, L)) + L,              x' = scale * (code - L)
// in FP32, to nearest, ties to even; FP16's largest number in the place of what is beyond it. Where
// the scale is 0 or less it is 0, and so are the codes (symmetric: L). The product is exact.
struct KvGrid {
  uint16_t scale = 0, minimum = 0;  // FP16; symmetric: no minimum
};
KvGrid KvGridFor(const KvScheme& scheme, float lo, float hi);

// Of one grid, ready for many numbers.
class KvRounder {
 public:
  KvRounder() = default;
  KvRounder(const KvScheme& scheme, const KvGrid& grid);

  uint8_t Code(float x) const {
    // Adding and taking away 1.5 * 2^23 leaves an integer. What is no number has no code.
    constexpr float kToInteger = 12582912.0f;
    const float y = std::min(std::max(low_, (x - offset_) / divisor_), high_);
    return static_cast<uint8_t>((y + kToInteger) - kToInteger - low_);
  }
  float Value(uint8_t code) const { return minimum_ + scale_ * static_cast<float>(code); }

 private:
  float offset_ = 0, divisor_ = 1, low_ = 0, high_ = 0;
  float minimum_ = 0, scale_ = 0;
};

}  // namespace quantref
