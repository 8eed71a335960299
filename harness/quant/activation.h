#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include "harness/quant/scheme.h"

namespace quantref {

// LLM.int8() (Dettmers et al. 2022, section 3.2, eq. 8): input channels in which |x| reaches the
// threshold in any token of a call are multiplied in floating point; codes and their scales are
// made of the others. A call is one product: the tokens that go through a linear together, a whole
// window where it is scored, what is put behind a cache at once where it is not (one token in
// decoding). So the channels of a window depend on nothing but the window, and those of a token in
// decoding on that token alone, as in the implementations that people run.
struct OutlierRule {
  // kFp16  the paper: their weights are the original ones in FP16, which are kept beside the codes.
  // kInt8  bitsandbytes, which keeps codes alone: their weights are those that the codes stand for.
  //        There a token's scale also spans what of those channels is below the threshold.
  enum class Weights { kFp16, kInt8 };

  double threshold = 6;  // of |x|, > 0; what equals it exceeds it, as in bitsandbytes
  Weights weights = Weights::kFp16;

  bool operator==(const OutlierRule&) const = default;
};
const char* OutlierWeightsName(OutlierRule::Weights weights);  // "fp16", "int8"

// How the inputs of quantized linears are rounded, as a config asks for it. As `int` symmetric, as
// in the integer products that it stands for: with b bits
//   scale = absmax / (2^(b-1) - 1), in FP32
//   q     = clamp(round(x / scale), -(2^(b-1) - 1), 2^(b-1) - 1), to nearest, ties to even
// and the linear reads scale * q. In another format each token is rounded as RoundRow (grid.h)
// says, under scales of its own; of `nvfp4` the FP32 number that scales are relative to is the
// token's.
struct ActivationScheme {
  int bits = 8;           // kMinBits..kMaxBits, or those of the format
  bool per_token = true;  // one scale a row of (T, in); else one for the whole window
  bool dynamic = true;    // absmax of the data itself; else of the calibration data (not per token)
  // Of `int` with dynamic scales of whole tokens alone.
  std::optional<OutlierRule> outliers{};
  // Consecutive inputs of a token that share a scale, where it has several; 0: one scale. The last
  // of a token may be fewer.
  size_t group = 0;
  const NumberFormat* format = &kIntFormat;  // another: dynamic scales of tokens alone

  bool operator==(const ActivationScheme&) const = default;
};

// The formats that activations can have, `int` first.
std::span<const NumberFormat* const> ActivationFormats();

std::string OutlierName(const OutlierRule& rule);  // as the tables print it: "fp16>=6"

// As the tables print it: "a8 token", "a8 tensor static", "a8 token fp16>=6", "a4 g128",
// "a-mxfp4 g32".
std::string ActivationName(const ActivationScheme& scheme);

// The same, decided for one linear.
struct ActivationFormat {
  int bits = 8;
  bool per_token = true;
  std::optional<float> static_scale{};  // none: from the data
  std::optional<OutlierRule> outliers{};
  size_t group = 0;
  const NumberFormat* format = &kIntFormat;

  float Limit() const { return static_cast<float>((1 << (bits - 1)) - 1); }
  float ScaleFor(float absmax) const { return absmax / Limit(); }
  // Whether the integer kernels multiply its codes; else activations are rounded to the values that
  // codes stand for, which are multiplied as FP32 activations are.
  bool HasIntegerProducts() const { return format == &kIntFormat && group == 0; }
  // Whether FP16 weights are kept beside the codes.
  bool KeepsWeights() const { return outliers && outliers->weights == OutlierRule::Weights::kFp16; }

  bool operator==(const ActivationFormat&) const = default;
};

// The text that stands for it in hashes, whatever tables call it: bits, whether scales are of
// tokens, the static one or -1, and what it has beyond these.
//   "a8 true -1"   "a8 false 0.25"   "a4 true -1 mxfp4 g32"   "a8 true -1 fp16>=6"
std::string HashedActivations(const ActivationFormat& format);

// Of activations whose scales are made of the data; static ones get theirs from who calibrates.
std::optional<ActivationFormat> DynamicFormat(const std::optional<ActivationScheme>& scheme);

}  // namespace quantref
