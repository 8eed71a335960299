#pragma once

#include <optional>
#include <string>

namespace quantref {

// How the inputs of quantized linears are rounded, as a config asks for it. Symmetric, as in the
// integer products that it stands for: with b bits
//   scale = absmax / (2^(b-1) - 1), in FP32
//   q     = clamp(round(x / scale), -(2^(b-1) - 1), 2^(b-1) - 1), to nearest, ties to even
// and the linear reads scale * q.
struct ActivationScheme {
  int bits = 8;           // kMinBits..kMaxBits
  bool per_token = true;  // one scale a row of (T, in); else one for the whole window
  bool dynamic = true;    // absmax of the data itself; else of the calibration data (not per token)

  bool operator==(const ActivationScheme&) const = default;
};

// As the tables print it: "a8 token", "a8 tensor static".
std::string ActivationName(const ActivationScheme& scheme);

// The same, decided for one linear.
struct ActivationFormat {
  int bits = 8;
  bool per_token = true;
  std::optional<float> static_scale{};  // none: from the data

  float Limit() const { return static_cast<float>((1 << (bits - 1)) - 1); }
  float ScaleFor(float absmax) const { return absmax / Limit(); }
};

}  // namespace quantref
