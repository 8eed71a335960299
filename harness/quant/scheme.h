#pragma once

#include <cstddef>
#include <string>

namespace quantref {

struct NumberFormat;
extern const NumberFormat kIntFormat;  // format.h
enum class ScaleType;                  // scale.h

// How far one scale (and zero point) of a (out, in) weight matrix reaches.
enum class Granularity { kTensor, kRow, kColumn, kGroup };

// The format of a quantized weight matrix and what it leaves open: data, not an algorithm. What the
// numbers mean is defined in grid.h.
struct WeightScheme {
  int bits = 4;  // 2..8; those of the format where it has its own
  Granularity granularity = Granularity::kGroup;
  // Consecutive inputs that share a scale, > 0; used by kGroup only. The last group of a row may be
  // shorter (scale_shape.h).
  size_t group = 128;
  // Of `int` alone:
  bool symmetric = false;                    // no zero point
  bool full_range = false;                   // symmetric only: use the code -2^(bits-1) too
  bool zero_in_range = true;                 // asymmetric only: the range always contains 0
  const NumberFormat* format = &kIntFormat;  // never nullptr
  bool double_quant = false;                 // scales are ScaleType::kDynamic8, for those it allows

  // Whether a zero point stands beside each scale.
  bool HasZeros() const;
  ScaleType scale_type() const;

  bool operator==(const WeightScheme&) const = default;
};

inline constexpr int kMinBits = 2;
inline constexpr int kMaxBits = 8;

const char* GranularityName(Granularity granularity);

// How far a scale reaches, as the tables print it: "g128", "row".
std::string ReachName(const WeightScheme& scheme);

// As the tables print it: "int4 g128 asym", "int8 row sym", "int3 g64 sym full"; of other formats
// their name, where they are evenly spaced with the bits, and the reach, "nf4 g64",
// "float_zero4 g64", and with double quantization "nf4 g64 dq".
std::string SchemeName(const WeightScheme& scheme);

// Throws Error where the scheme cannot be applied to a matrix of this name: bits out of range or
// not the format's, a group of no inputs, or what the format does not leave open.
void CheckApplies(const WeightScheme& scheme, const std::string& name);

}  // namespace quantref
