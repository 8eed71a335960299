#include "harness/quant/stored_codes.h"

#include <algorithm>
#include <iterator>

#include "harness/base/check.h"
#include "harness/quant/ggml_blocks.h"

namespace quantref {
namespace {

struct GgmlCodesRow {
  GgmlType type;
  int bits;
  size_t group;  // a part of the block, in types whose blocks have several scales
  bool symmetric;
};

constexpr GgmlCodesRow kGgmlCodes[] = {
    {GgmlType::kQ4_0, 4, 32, true},   {GgmlType::kQ4_1, 4, 32, false},
    {GgmlType::kQ5_0, 5, 32, true},   {GgmlType::kQ5_1, 5, 32, false},
    {GgmlType::kQ8_0, 8, 32, true},   {GgmlType::kQ2K, 2, 16, false},
    {GgmlType::kQ3K, 3, 16, true},    {GgmlType::kQ4K, 4, 32, false},
    {GgmlType::kQ5K, 5, 32, false},   {GgmlType::kQ6K, 6, 16, true},
    {GgmlType::kIq4Nl, 4, 32, true},  {GgmlType::kIq4Xs, 4, 32, true},
    {GgmlType::kMxfp4, 4, 32, true},  {GgmlType::kNvfp4, 4, 16, true},
    {GgmlType::kTq1_0, 2, 256, true}, {GgmlType::kTq2_0, 2, 256, true},
};

}  // namespace

StoredCodes CodesOf(GgmlType type) {
  const auto row = std::ranges::find(kGgmlCodes, type, &GgmlCodesRow::type);
  if (row == std::end(kGgmlCodes)) {
    QR_CHECK(DecodesGgml(type));  // F32, F16, BF16
    return {};
  }
  return BlockScheme{.format = std::string(GgmlRow(type).name),
                     .bits = row->bits,
                     .group = row->group,
                     .symmetric = row->symmetric,
                     .block = GgmlRow(type).elements};
}

}  // namespace quantref
