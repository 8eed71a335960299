#include "harness/quant/ggml_scales.h"

#include <catch2/catch.hpp>
#include <string>
#include <tuple>

#include "harness/base/half.h"

namespace quantref {
namespace {

// A block whose bytes are 1 but for the FP16 number there.
std::string BlockWithScale(GgmlType type, size_t offset, float scale) {
  std::string block(GgmlRow(type).bytes, '\1');
  const uint16_t half = FloatToHalf(scale);
  block[offset] = static_cast<char>(half & 0xff);
  block[offset + 1] = static_cast<char>(half >> 8);
  return block;
}

TEST_CASE("ggml_scales: scales of 0, and negative ones where none should be", "[ggml_scales]") {
  for (const auto& [type, offset, has_sign] : {std::tuple(GgmlType::kQ4_0, 0, true),
                                               {GgmlType::kQ8_0, 0, false},
                                               {GgmlType::kQ2K, 80, false},
                                               {GgmlType::kQ3K, 108, true},
                                               {GgmlType::kQ4K, 0, false},
                                               {GgmlType::kQ6K, 208, true},
                                               {GgmlType::kTq1_0, 52, false},
                                               {GgmlType::kTq2_0, 64, false}}) {
    std::string blocks;
    for (const float scale : {0.5F, 0.0F, -0.5F, -0.0F})
      blocks += BlockWithScale(type, static_cast<size_t>(offset), scale);
    const GgmlScales found =
        CountScales(type, {reinterpret_cast<const std::byte*>(blocks.data()), blocks.size()});
    INFO(GgmlRow(type).name);
    CHECK(found.zero == 2);
    CHECK(found.negative == (has_sign ? 0 : 1));
  }
  const std::string of_powers(GgmlRow(GgmlType::kMxfp4).bytes, '\0');
  CHECK(CountScales(GgmlType::kMxfp4,
                    {reinterpret_cast<const std::byte*>(of_powers.data()), of_powers.size()})
            .zero == 0);
}

}  // namespace
}  // namespace quantref
