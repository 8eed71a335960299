#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace quantref {

// How a matrix stores its scales, all of which are >= 0 (but for kDynamic8).
//   kFp16      FP16 numbers times 2^exponent, with one exponent for all scales of a matrix: 0 where
//              none of them but 0 is below 2^-14, the least normal FP16 number; else the largest
//              that makes the least of them normal, or, where they lie too far apart for that, that
//              leaves the largest of them in [2^11, 2^12) times 2^exponent.
//   kFp32      as they are.
//   kE8m0      a byte e for the power of two 2^(e - 127), e in [0, 254] (OCP Microscaling
//              Formats 1.0, section 5.4.1); what is less than all of them is 2^-127.
//   kE4m3      a byte for an E4M3 number, over one FP32 divisor for all scales of a matrix
//              (NVFP4 as compressed-tensors stores it); to nearest, ties to even, not beyond 448.
//   kDynamic8  double quantization (QLoRA, Dettmers et al. 2023, section 3; the bytes of
//              bitsandbytes): scales less their mean, in blocks of kNestedBlock with one FP32
//              absmax each, as codes of the dynamic 8-bit map (dynamic_map.h). Where scales lie far
//              apart one that is near 0 may become one that is a little below it.
enum class ScaleType { kFp16, kFp32, kE8m0, kE4m3, kDynamic8 };

// Of an exponent that is not 0.
inline constexpr size_t kExponentBits = 8;
inline constexpr int kMostExponent = 80;  // its magnitude

inline constexpr size_t kNestedBlock = 256;
inline constexpr float kLargestE4m3 = 448;

const char* ScaleTypeName(ScaleType type);  // "fp16"
size_t ScaleBytes(ScaleType type);

// What stored bytes mean beside those of one scale: a matrix's frame as it concerns that scale.
struct ScaleUnit {
  int exponent = 0;  // kFp16
  float factor = 1;  // kE4m3: the divisor; kDynamic8: the absmax of its block
  float offset = 0;  // kDynamic8: the mean
};

// What the scales of a matrix have in common, chosen before any of them is rounded.
struct ScaleFrame {
  int exponent = 0;             // kFp16
  float divisor = 1;            // kE4m3
  float mean = 0;               // kDynamic8
  std::vector<float> absmax{};  // kDynamic8: of each kNestedBlock scales, less the mean

  ScaleUnit UnitOf(size_t scale) const;  // by its number in the matrix
  bool operator==(const ScaleFrame&) const = default;
};

// Bits of a frame's FP32 numbers, for so many scales; without the exponent's kExponentBits.
size_t FrameBits(ScaleType type, size_t scales);

// The largest scale that may be asked for.
float LargestScale(ScaleType type, const ScaleUnit& unit);

// The exponent of a matrix with these scales, not yet rounded. Throws Error where they are all too
// small for any.
int ChooseExponent(std::span<const float> wanted, ScaleType type);

// The frame of double quantization: the mean in double, rounded once.
ScaleFrame ChooseNested(std::span<const float> wanted);

// Rounds the scale to what can be stored and writes its ScaleBytes. Throws Error where it is NaN
// or too large.
void StoreScale(float wanted, ScaleType type, const ScaleUnit& unit, uint8_t* bytes);
float LoadScale(const uint8_t* bytes, ScaleType type, const ScaleUnit& unit);

// The scale as it is stored: both.
float RoundScale(float wanted, ScaleType type, const ScaleUnit& unit);

}  // namespace quantref
