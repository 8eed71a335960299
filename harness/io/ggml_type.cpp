#include "harness/io/ggml_type.h"

#include <algorithm>
#include <iterator>

#include "harness/base/check.h"

namespace quantref {
namespace {

constexpr GgmlTypeRow kGgmlTypes[] = {
    {GgmlType::kF32, "F32", 1, 4},
    {GgmlType::kF16, "F16", 1, 2},
    {GgmlType::kQ4_0, "Q4_0", 32, 18},
    {GgmlType::kQ4_1, "Q4_1", 32, 20},
    {GgmlType::kQ5_0, "Q5_0", 32, 22},
    {GgmlType::kQ5_1, "Q5_1", 32, 24},
    {GgmlType::kQ8_0, "Q8_0", 32, 34},
    {GgmlType::kQ2K, "Q2_K", 256, 84},
    {GgmlType::kQ3K, "Q3_K", 256, 110},
    {GgmlType::kQ4K, "Q4_K", 256, 144},
    {GgmlType::kQ5K, "Q5_K", 256, 176},
    {GgmlType::kQ6K, "Q6_K", 256, 210},
    {GgmlType::kIq2Xxs, "IQ2_XXS", 256, 66},
    {GgmlType::kIq2Xs, "IQ2_XS", 256, 74},
    {GgmlType::kIq3Xxs, "IQ3_XXS", 256, 98},
    {GgmlType::kIq1S, "IQ1_S", 256, 50},
    {GgmlType::kIq4Nl, "IQ4_NL", 32, 18},
    {GgmlType::kIq3S, "IQ3_S", 256, 110},
    {GgmlType::kIq2S, "IQ2_S", 256, 82},
    {GgmlType::kIq4Xs, "IQ4_XS", 256, 136},
    {GgmlType::kI8, "I8", 1, 1},
    {GgmlType::kI16, "I16", 1, 2},
    {GgmlType::kI32, "I32", 1, 4},
    {GgmlType::kI64, "I64", 1, 8},
    {GgmlType::kF64, "F64", 1, 8},
    {GgmlType::kIq1M, "IQ1_M", 256, 56},
    {GgmlType::kBf16, "BF16", 1, 2},
    {GgmlType::kTq1_0, "TQ1_0", 256, 54},
    {GgmlType::kTq2_0, "TQ2_0", 256, 66},
    {GgmlType::kMxfp4, "MXFP4", 32, 17},
    {GgmlType::kNvfp4, "NVFP4", 64, 36},
    {GgmlType::kQ1_0, "Q1_0", 128, 18},
    {GgmlType::kQ2_0, "Q2_0", 64, 18},
};

struct NumberedName {
  uint32_t number;
  std::string_view name;
};
constexpr NumberedName kRemoved[] = {
    {4, "Q4_2"},      {5, "Q4_3"},        {31, "Q4_0_4_4"},   {32, "Q4_0_4_8"},
    {33, "Q4_0_8_8"}, {36, "IQ4_NL_4_4"}, {37, "IQ4_NL_4_8"}, {38, "IQ4_NL_8_8"},
};
// Of activations; no file holds them.
constexpr NumberedName kOfActivations[] = {{9, "Q8_1"}, {15, "Q8_K"}};
constexpr uint32_t kFirstOfForks = 97;

}  // namespace

const GgmlTypeRow* FindGgmlType(uint32_t number) {
  const auto row = std::ranges::find(kGgmlTypes, static_cast<GgmlType>(number), &GgmlTypeRow::type);
  return row == std::end(kGgmlTypes) ? nullptr : row;
}

const GgmlTypeRow& GgmlRow(GgmlType type) {
  const GgmlTypeRow* const row = FindGgmlType(static_cast<uint32_t>(type));
  QR_CHECK(row != nullptr);
  return *row;
}

std::string DescribeForeignGgmlType(uint32_t number) {
  for (const auto& [removed, name] : kRemoved) {
    if (removed == number) return std::string(name) + ", which ggml has removed";
  }
  for (const auto& [of_activations, name] : kOfActivations) {
    if (of_activations == number) return std::string(name) + ", which is for activations";
  }
  return std::to_string(number) +
         (number >= kFirstOfForks ? ", which a fork of llama.cpp (ik_llama.cpp) may have" : "");
}

}  // namespace quantref
