#include "harness/export/packed_codes.h"

#include <fmt/format.h>

#include <algorithm>

#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/base/half.h"
#include "harness/quant/affine.h"

namespace quantref {

std::shared_ptr<const PackedMatrix> AsPacked(const Weight& weight) {
  if (const PackedMatrix* packed = weight.packed())
    return {std::shared_ptr<const void>(), packed};  // the weight owns it
  QR_CHECK(weight.tiled() != nullptr);
  return std::make_shared<const PackedMatrix>(weight.tiled()->Unpack());
}

const WeightScheme& SchemeOfWeight(const Weight& weight) {
  if (const PackedMatrix* packed = weight.packed()) return packed->scheme();
  QR_CHECK(weight.tiled() != nullptr);
  return weight.tiled()->scheme();
}

void GetColumnCodes(const PackedMatrix& packed, size_t row, std::span<uint8_t> codes) {
  const std::span<const uint32_t> order = packed.order();
  if (order.empty()) return packed.GetCodes(row, codes);
  std::vector<uint8_t> by_position(codes.size());
  packed.GetCodes(row, by_position);
  for (size_t p = 0; p < order.size(); ++p) codes[order[p]] = by_position[p];
}

std::vector<int32_t> GroupsOfColumns(const PackedMatrix& packed) {
  const std::span<const uint32_t> order = packed.order();
  std::vector<int32_t> groups(packed.cols());
  for (size_t p = 0; p < groups.size(); ++p)
    groups[order.empty() ? p : order[p]] = static_cast<int32_t>(packed.scales().ColOf(p));
  return groups;
}

void RequireColumnsInPlace(const PackedMatrix& packed, const std::string& name) {
  if (packed.order().empty()) return;
  throw Error("the format has no order of columns, and this matrix has one", name, "gptq has it");
}

size_t WordsFor(size_t codes, int bits) { return (codes * static_cast<size_t>(bits) + 31) / 32; }

void PackWords(std::span<const uint8_t> codes, int bits, std::span<uint32_t> words) {
  QR_DCHECK_EQ(words.size(), WordsFor(codes.size(), bits));
  std::fill(words.begin(), words.end(), 0);
  for (size_t i = 0; i < codes.size(); ++i) {
    const size_t at = i * static_cast<size_t>(bits);
    const uint64_t shifted = uint64_t{codes[i]} << (at % 32);
    words[at / 32] |= static_cast<uint32_t>(shifted & 0xffffffff);
    if (shifted >> 32 != 0) words[at / 32 + 1] |= static_cast<uint32_t>(shifted >> 32);
  }
}

uint16_t HalfScale(const PackedMatrix& packed, size_t scale_row, size_t scale_col,
                   const std::string& name) {
  const float scale = packed.affine(scale_row, scale_col).scale;
  const uint16_t half = FloatToHalf(scale);
  if (HalfToFloat(half) == scale) return half;
  throw Error(fmt::format("expected scales that are FP16 numbers, found {}", scale), name,
              "pack-quantized and int-quantized hold scales below FP16's as FP32");
}

void PutScalesByGroup(const PackedMatrix& packed, const std::string& name, const ByteSink& sink) {
  std::vector<uint16_t> scales(packed.rows());
  for (size_t group = 0; group < packed.scale_cols(); ++group) {
    for (size_t row = 0; row < scales.size(); ++row)
      scales[row] = HalfScale(packed, row, group, name);
    sink(AsBytes(scales));
  }
}

}  // namespace quantref
