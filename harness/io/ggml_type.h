#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace quantref {

// How tensors are stored in GGUF files, by ggml's numbers (ggml.h).
enum class GgmlType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2K = 10,
  kQ3K = 11,
  kQ4K = 12,
  kQ5K = 13,
  kQ6K = 14,
  kIq2Xxs = 16,
  kIq2Xs = 17,
  kIq3Xxs = 18,
  kIq1S = 19,
  kIq4Nl = 20,
  kIq3S = 21,
  kIq2S = 22,
  kIq4Xs = 23,
  kI8 = 24,
  kI16 = 25,
  kI32 = 26,
  kI64 = 27,
  kF64 = 28,
  kIq1M = 29,
  kBf16 = 30,
  kTq1_0 = 34,
  kTq2_0 = 35,
  kMxfp4 = 39,
  kNvfp4 = 40,
  kQ1_0 = 41,
  kQ2_0 = 42,
};

// Rows of a tensor are whole blocks of so many elements in so many bytes.
struct GgmlTypeRow {
  GgmlType type;
  std::string_view name;  // ggml's: "Q4_K"
  size_t elements, bytes;
};

const GgmlTypeRow& GgmlRow(GgmlType type);

// nullptr: no type of files has this number.
const GgmlTypeRow* FindGgmlType(uint32_t number);

// What is known of a number that FindGgmlType does not have: "Q4_2, which ggml has removed".
std::string DescribeForeignGgmlType(uint32_t number);

}  // namespace quantref
