#include "harness/quant/format.h"

#include <algorithm>

#include "harness/quant/float8.h"

namespace quantref {

constexpr NumberFormat kIntFormat = {.name = "int",
                                     .about = "evenly spaced integers, with or without zero point",
                                     .zero = ZeroKind::kCode};

namespace {

constexpr NumberFormat kFloatZero = {
    .name = "float_zero",
    .about = "evenly spaced, with an FP16 zero that need be no code (HQQ, Q4_1)",
    .zero = ZeroKind::kHalf,
    .group = 64};

// QLoRA (Dettmers et al. 2023), appendix E, in FP32.
constexpr float kNf4Levels[] = {-1.0f,
                                -0.6961928009986877f,
                                -0.5250730514526367f,
                                -0.39491748809814453f,
                                -0.28444138169288635f,
                                -0.18477343022823334f,
                                -0.09105003625154495f,
                                0.0f,
                                0.07958029955625534f,
                                0.16093020141124725f,
                                0.24611230194568634f,
                                0.33791524171829224f,
                                0.44070982933044434f,
                                0.5626170039176941f,
                                0.7229568362236023f,
                                1.0f};
constexpr NumberFormat kNf4 = {.name = "nf4",
                               .about = "4-bit quantiles of a normal distribution (QLoRA)",
                               .levels = {kNf4Levels, Midpoint::kLowerOfFp32},
                               .scale = ScaleType::kFp32,
                               .group = 64,
                               .by_inverse = true};

// bitsandbytes' own 4-bit float, by its codes.
constexpr float kFp4Levels[] = {0.0f / 12,  0.0625f / 12,  8.0f / 12,  12.0f / 12,
                                4.0f / 12,  6.0f / 12,     2.0f / 12,  3.0f / 12,
                                -0.0f / 12, -0.0625f / 12, -8.0f / 12, -12.0f / 12,
                                -4.0f / 12, -6.0f / 12,    -2.0f / 12, -3.0f / 12};
constexpr NumberFormat kFp4 = {.name = "fp4",
                               .about = "the 4-bit float of bitsandbytes",
                               .levels = {kFp4Levels, Midpoint::kLowerOfFp32},
                               .scale = ScaleType::kFp32,
                               .group = 64,
                               .by_inverse = true};

// E2M1: a sign, two bits of exponent with the bias 1, one of mantissa.
constexpr float kE2m1Levels[] = {0,     0.5f,  1,  1.5f,  2,  3,  4,  6,
                                 -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};
constexpr NumberFormat kMxfp4 = {.name = "mxfp4",
                                 .about = "E2M1 in blocks of 32 under a power of two (OCP MX)",
                                 .levels = {kE2m1Levels, Midpoint::kEvenCode},
                                 .scale = ScaleType::kE8m0,
                                 .rule = ScaleRule::kPower,
                                 .group = 32,
                                 .fixed_group = true};
constexpr NumberFormat kNvfp4 = {
    .name = "nvfp4",
    .about = "E2M1 in blocks of 16 under E4M3 scales and one FP32 scale a matrix (NVIDIA)",
    .levels = {kE2m1Levels, Midpoint::kEvenCode},
    .scale = ScaleType::kE4m3,
    .group = 16,
    .fixed_group = true};

constexpr NumberFormat kFp8E4m3 = {.name = "fp8_e4m3",
                                   .about = "8-bit floats with 3 bits of mantissa (OCP OFP8, fn)",
                                   .levels = {kE4m3Numbers, Midpoint::kEvenCode},
                                   .scale = ScaleType::kFp32,
                                   .granularity = Granularity::kRow};
constexpr NumberFormat kFp8E5m2 = {.name = "fp8_e5m2",
                                   .about = "8-bit floats with 2 bits of mantissa (OCP OFP8)",
                                   .levels = {kE5m2Numbers, Midpoint::kEvenCode},
                                   .scale = ScaleType::kFp32,
                                   .granularity = Granularity::kRow};

// The two bits of a signed number, so that halves go to the even number: 0. Code 2 is none.
constexpr float kTernaryLevels[] = {0, 1, -0.0f, -1};
constexpr NumberFormat kTernary = {
    .name = "ternary",
    .about = "-1, 0 and 1 of the mean magnitude (BitNet b1.58), stored in 2 bits each",
    .levels = {kTernaryLevels, Midpoint::kEvenCode},
    .rule = ScaleRule::kAbsMean,
    .granularity = Granularity::kTensor};

constexpr const NumberFormat* kFormats[] = {&kIntFormat, &kFloatZero, &kNf4,     &kFp4,    &kMxfp4,
                                            &kNvfp4,     &kFp8E4m3,   &kFp8E5m2, &kTernary};

}  // namespace

std::span<const NumberFormat* const> NumberFormats() { return kFormats; }

const NumberFormat* FindFormat(std::string_view name) {
  const auto found = std::find_if(std::begin(kFormats), std::end(kFormats),
                                  [&](const NumberFormat* format) { return format->name == name; });
  return found == std::end(kFormats) ? nullptr : *found;
}

}  // namespace quantref
