#include "harness/quant/ggml_scales.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iterator>

#include "harness/base/half.h"

namespace quantref {
namespace {

// Where a block has its FP16 scale (of its scales, in blocks of 256), and whether ggml's quantizers
// make negative ones: those that take the signed number of largest magnitude do.
struct ScalePlace {
  GgmlType type;
  size_t offset;
  bool has_sign;
};
constexpr ScalePlace kPlaces[] = {
    {GgmlType::kQ4_0, 0, true},    {GgmlType::kQ4_1, 0, false},   {GgmlType::kQ5_0, 0, true},
    {GgmlType::kQ5_1, 0, false},   {GgmlType::kQ8_0, 0, false},   {GgmlType::kQ2K, 80, false},
    {GgmlType::kQ3K, 108, true},   {GgmlType::kQ4K, 0, false},    {GgmlType::kQ5K, 0, false},
    {GgmlType::kQ6K, 208, true},   {GgmlType::kIq4Nl, 0, true},   {GgmlType::kIq4Xs, 0, true},
    {GgmlType::kTq1_0, 52, false}, {GgmlType::kTq2_0, 64, false},
};

}  // namespace

GgmlScales CountScales(GgmlType type, std::span<const std::byte> blocks) {
  GgmlScales scales;
  const auto place = std::ranges::find(kPlaces, type, &ScalePlace::type);
  if (place == std::end(kPlaces)) return scales;
  const size_t bytes = GgmlRow(type).bytes;
  for (size_t at = 0; at + bytes <= blocks.size(); at += bytes) {
    uint16_t half;
    std::memcpy(&half, blocks.data() + at + place->offset, sizeof(half));
    const float scale = HalfToFloat(half);
    scales.zero += scale == 0;
    scales.negative += scale < 0 && !place->has_sign;
  }
  return scales;
}

}  // namespace quantref
