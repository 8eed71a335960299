#include "harness/quant/ggml_blocks.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <iterator>

#include "harness/base/check.h"
#include "harness/base/half.h"

namespace quantref {
namespace {

using Bytes = const uint8_t*;

float HalfAt(Bytes block, size_t offset) {
  uint16_t half;
  std::memcpy(&half, block + offset, sizeof(half));
  return HalfToFloat(half);
}

uint32_t WordAt(Bytes block, size_t offset) {
  uint32_t word;
  std::memcpy(&word, block + offset, sizeof(word));
  return word;
}

// Levels of IQ4_NL and IQ4_XS, and twice those of E2M1.
constexpr float kIq4Levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                  1,    13,   25,  38,  53,  69,  89,  113};
constexpr float kTwiceE2m1[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

void DecodeF32(Bytes block, float* values) { std::memcpy(values, block, sizeof(float)); }
void DecodeF16(Bytes block, float* values) { *values = HalfAt(block, 0); }
void DecodeBf16(Bytes block, float* values) {
  uint16_t bits;
  std::memcpy(&bits, block, sizeof(bits));
  *values = BFloatToFloat(bits);
}

// Blocks of 32: element j < 16 has the low four bits of byte j, element 16 + j the high ones.
constexpr size_t kHalf = 16;

void DecodeQ4_0(Bytes block, float* values) {
  const float scale = HalfAt(block, 0);
  const Bytes codes = block + 2;
  for (size_t j = 0; j < kHalf; ++j) {
    values[j] = static_cast<float>((codes[j] & 15) - 8) * scale;
    values[kHalf + j] = static_cast<float>((codes[j] >> 4) - 8) * scale;
  }
}

void DecodeQ4_1(Bytes block, float* values) {
  const float scale = HalfAt(block, 0), least = HalfAt(block, 2);
  const Bytes codes = block + 4;
  for (size_t j = 0; j < kHalf; ++j) {
    values[j] = static_cast<float>(codes[j] & 15) * scale + least;
    values[kHalf + j] = static_cast<float>(codes[j] >> 4) * scale + least;
  }
}

// Element e's fifth bit is bit e of a word.
int WithFifth(int low, uint32_t word, size_t element) {
  return low | static_cast<int>((word >> element & 1) << 4);
}

void DecodeQ5_0(Bytes block, float* values) {
  const float scale = HalfAt(block, 0);
  const uint32_t fifths = WordAt(block, 2);
  const Bytes codes = block + 6;
  for (size_t j = 0; j < kHalf; ++j) {
    values[j] = static_cast<float>(WithFifth(codes[j] & 15, fifths, j) - 16) * scale;
    values[kHalf + j] =
        static_cast<float>(WithFifth(codes[j] >> 4, fifths, kHalf + j) - 16) * scale;
  }
}

void DecodeQ5_1(Bytes block, float* values) {
  const float scale = HalfAt(block, 0), least = HalfAt(block, 2);
  const uint32_t fifths = WordAt(block, 4);
  const Bytes codes = block + 8;
  for (size_t j = 0; j < kHalf; ++j) {
    values[j] = static_cast<float>(WithFifth(codes[j] & 15, fifths, j)) * scale + least;
    values[kHalf + j] =
        static_cast<float>(WithFifth(codes[j] >> 4, fifths, kHalf + j)) * scale + least;
  }
}

void DecodeQ8_0(Bytes block, float* values) {
  const float scale = HalfAt(block, 0);
  for (size_t j = 0; j < 2 * kHalf; ++j)
    values[j] = static_cast<float>(static_cast<int8_t>(block[2 + j])) * scale;
}

void DecodeLevels(const float* levels, Bytes codes, float scale, float* values) {
  for (size_t j = 0; j < kHalf; ++j) {
    values[j] = scale * levels[codes[j] & 15];
    values[kHalf + j] = scale * levels[codes[j] >> 4];
  }
}

void DecodeIq4Nl(Bytes block, float* values) {
  DecodeLevels(kIq4Levels, block + 2, HalfAt(block, 0), values);
}

// 2^(exponent - 128), half of what E8M0 means, since the levels are doubled. The two least are no
// normal numbers.
float HalfOfE8m0(uint8_t exponent) {
  constexpr uint32_t kMantissaBits = 23;
  const uint32_t bits = exponent < 2 ? uint32_t{1} << (kMantissaBits - 2 + exponent)
                                     : (uint32_t{exponent} - 1) << kMantissaBits;
  return std::bit_cast<float>(bits);
}

void DecodeMxfp4(Bytes block, float* values) {
  DecodeLevels(kTwiceE2m1, block + 1, HalfOfE8m0(block[0]), values);
}

// Half of E4M3 without a sign, since the levels are doubled; 0x7f is no number, and counts as 0.
float HalfOfE4m3(uint8_t bits) {
  constexpr uint8_t kNoNumber = 0x7f;
  if (bits == kNoNumber) return 0;
  const int exponent = bits >> 3 & 15, mantissa = bits & 7;
  const float significand = static_cast<float>(exponent == 0 ? mantissa : 8 + mantissa);
  return std::ldexp(significand, std::max(exponent, 1) - 11);
}

// Four runs of 16, each with a scale; the low four bits of its eight bytes come first.
void DecodeNvfp4(Bytes block, float* values) {
  constexpr size_t kRuns = 4, kRunBytes = 8;
  for (size_t run = 0; run < kRuns; ++run) {
    const float scale = HalfOfE4m3(block[run]);
    const Bytes codes = block + kRuns + run * kRunBytes;
    for (size_t j = 0; j < kRunBytes; ++j) {
      values[j] = scale * kTwiceE2m1[codes[j] & 15];
      values[kRunBytes + j] = scale * kTwiceE2m1[codes[j] >> 4];
    }
    values += 2 * kRunBytes;
  }
}

// Superblocks of 256. Codes of two bits stand in two halves of 128 elements: element r of one has
// bits 2 * (r / 32) and the next of byte r % 32.
constexpr size_t kSuper = 256, kSuperHalf = 128, kRun = 32, kFine = 16;

void DecodeQ2K(Bytes block, float* values) {
  const float scale = HalfAt(block, 80), least = HalfAt(block, 82);
  for (size_t run = 0; run < kSuper / kRun; ++run) {
    const Bytes codes = block + 16 + run / 4 * kRun;
    const size_t shift = 2 * (run % 4);
    for (size_t part = 0; part < 2; ++part) {
      const uint8_t both = block[2 * run + part];
      const float step = scale * static_cast<float>(both & 15),
                  offset = least * static_cast<float>(both >> 4);
      for (size_t j = part * kFine; j < (part + 1) * kFine; ++j)
        values[run * kRun + j] = step * static_cast<float>(codes[j] >> shift & 3) - offset;
    }
  }
}

// The 16 scales of six bits: four low ones in the halves of eight bytes, two high ones in four.
int ScaleOfQ3K(Bytes scales, size_t index) {
  const int low = index < 8 ? scales[index] & 15 : scales[index - 8] >> 4;
  const int high = scales[8 + index % 4] >> (2 * (index / 4)) & 3;
  return (low | high << 4) - 32;
}

void DecodeQ3K(Bytes block, float* values) {
  const float scale = HalfAt(block, 108);
  for (size_t run = 0; run < kSuper / kRun; ++run) {
    const Bytes codes = block + 32 + run / 4 * kRun;
    const size_t shift = 2 * (run % 4);
    for (size_t part = 0; part < 2; ++part) {
      const float step = scale * static_cast<float>(ScaleOfQ3K(block + 96, 2 * run + part));
      for (size_t j = part * kFine; j < (part + 1) * kFine; ++j) {
        const int third = block[j] >> run & 1;
        const int code = (codes[j] >> shift & 3) - (third != 0 ? 0 : 4);
        values[run * kRun + j] = step * static_cast<float>(code);
      }
    }
  }
}

// Scale and least of one of the eight runs of Q4_K and Q5_K: six bits each, of which the last four
// runs have the high two in the bytes of the first four.
struct RunScale {
  float step, offset;
};
RunScale ScaleOfRun(Bytes block, size_t run) {
  const Bytes packed = block + 4;
  int step = packed[run] & 63, offset = packed[run + 4] & 63;
  if (run >= 4) {
    step = (packed[run + 4] & 15) | packed[run - 4] >> 6 << 4;
    offset = packed[run + 4] >> 4 | packed[run] >> 6 << 4;
  }
  return {HalfAt(block, 0) * static_cast<float>(step),
          HalfAt(block, 2) * static_cast<float>(offset)};
}

void DecodeQ4K(Bytes block, float* values) {
  for (size_t run = 0; run < kSuper / kRun; ++run) {
    const auto [step, offset] = ScaleOfRun(block, run);
    const Bytes codes = block + 16 + run / 2 * kRun;
    const size_t shift = run % 2 * 4;
    for (size_t j = 0; j < kRun; ++j)
      values[run * kRun + j] = step * static_cast<float>(codes[j] >> shift & 15) - offset;
  }
}

void DecodeQ5K(Bytes block, float* values) {
  const Bytes fifths = block + 16;
  for (size_t run = 0; run < kSuper / kRun; ++run) {
    const auto [step, offset] = ScaleOfRun(block, run);
    const Bytes codes = block + 48 + run / 2 * kRun;
    const size_t shift = run % 2 * 4;
    for (size_t j = 0; j < kRun; ++j) {
      const int code = (codes[j] >> shift & 15) | (fifths[j] >> run & 1) << 4;
      values[run * kRun + j] = step * static_cast<float>(code) - offset;
    }
  }
}

void DecodeQ6K(Bytes block, float* values) {
  const float scale = HalfAt(block, 208);
  for (size_t run = 0; run < kSuper / kRun; ++run) {
    const size_t half = run / 4, in_half = run % 4;
    const Bytes low = block + 64 * half + kRun * (in_half % 2),
                high = block + kSuperHalf + kRun * half;
    const size_t low_shift = in_half / 2 * 4, high_shift = 2 * in_half;
    for (size_t part = 0; part < 2; ++part) {
      const float step =
          scale * static_cast<float>(static_cast<int8_t>(block[192 + 2 * run + part]));
      for (size_t j = part * kFine; j < (part + 1) * kFine; ++j) {
        const int code = (low[j] >> low_shift & 15) | (high[j] >> high_shift & 3) << 4;
        values[run * kRun + j] = step * static_cast<float>(code - 32);
      }
    }
  }
}

void DecodeIq4Xs(Bytes block, float* values) {
  const float scale = HalfAt(block, 0);
  const uint32_t high = WordAt(block, 2) & 0xffff;
  for (size_t run = 0; run < kSuper / kRun; ++run) {
    const int low = block[4 + run / 2] >> (run % 2 * 4) & 15;
    const int step = (low | static_cast<int>(high >> (2 * run) & 3) << 4) - 32;
    DecodeLevels(kIq4Levels, block + 8 + run * kFine, scale * static_cast<float>(step),
                 values + run * kRun);
  }
}

// Five digits to the base of 3, each a level plus 1, as the fraction byte / 256.
float Trit(uint8_t byte, size_t digit) {
  constexpr uint8_t kPowers[] = {1, 3, 9, 27, 81};
  const auto shifted = static_cast<uint8_t>(byte * kPowers[digit]);
  return static_cast<float>((shifted * 3 >> 8) - 1);
}

// Digit by digit, in three runs of bytes, of which the last has four digits.
void DecodeTq1_0(Bytes block, float* values) {
  constexpr struct { size_t begin, bytes, digits; } kRuns[] = {{0, 32, 5}, {32, 16, 5}, {48, 4, 4}};
  const float scale = HalfAt(block, 52);
  for (const auto& run : kRuns) {
    for (size_t digit = 0; digit < run.digits; ++digit) {
      for (size_t j = 0; j < run.bytes; ++j) *values++ = Trit(block[run.begin + j], digit) * scale;
    }
  }
}

void DecodeTq2_0(Bytes block, float* values) {
  const float scale = HalfAt(block, 64);
  for (size_t run = 0; run < kSuper / kRun; ++run) {
    const Bytes codes = block + run / 4 * kRun;
    for (size_t j = 0; j < kRun; ++j)
      *values++ = static_cast<float>((codes[j] >> (2 * (run % 4)) & 3) - 1) * scale;
  }
}

struct Decoder {
  GgmlType type;
  void (*decode)(Bytes block, float* values);
};
constexpr Decoder kDecoders[] = {
    {GgmlType::kF32, DecodeF32},     {GgmlType::kF16, DecodeF16},
    {GgmlType::kBf16, DecodeBf16},   {GgmlType::kQ4_0, DecodeQ4_0},
    {GgmlType::kQ4_1, DecodeQ4_1},   {GgmlType::kQ5_0, DecodeQ5_0},
    {GgmlType::kQ5_1, DecodeQ5_1},   {GgmlType::kQ8_0, DecodeQ8_0},
    {GgmlType::kQ2K, DecodeQ2K},     {GgmlType::kQ3K, DecodeQ3K},
    {GgmlType::kQ4K, DecodeQ4K},     {GgmlType::kQ5K, DecodeQ5K},
    {GgmlType::kQ6K, DecodeQ6K},     {GgmlType::kIq4Nl, DecodeIq4Nl},
    {GgmlType::kIq4Xs, DecodeIq4Xs}, {GgmlType::kMxfp4, DecodeMxfp4},
    {GgmlType::kNvfp4, DecodeNvfp4}, {GgmlType::kTq1_0, DecodeTq1_0},
    {GgmlType::kTq2_0, DecodeTq2_0},
};

const Decoder* FindDecoder(GgmlType type) {
  const auto decoder = std::ranges::find(kDecoders, type, &Decoder::type);
  return decoder == std::end(kDecoders) ? nullptr : decoder;
}

}  // namespace

bool DecodesGgml(GgmlType type) { return FindDecoder(type) != nullptr; }

std::string DecodedGgmlTypes() {
  std::string names;
  for (const Decoder& decoder : kDecoders)
    names += (names.empty() ? "" : ", ") + std::string(GgmlRow(decoder.type).name);
  return names;
}

void DecodeGgml(GgmlType type, std::span<const std::byte> blocks, std::span<float> values) {
  const Decoder* const decoder = FindDecoder(type);
  QR_CHECK(decoder != nullptr);
  const GgmlTypeRow& row = GgmlRow(type);
  const size_t count = values.size() / row.elements;
  QR_CHECK_EQ(count * row.elements, values.size());
  QR_CHECK_EQ(count * row.bytes, blocks.size());
  const Bytes from = reinterpret_cast<Bytes>(blocks.data());
  for (size_t i = 0; i < count; ++i)
    decoder->decode(from + i * row.bytes, values.data() + i * row.elements);
}

}  // namespace quantref
