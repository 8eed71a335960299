#include "harness/quant/scheme.h"

#include <fmt/format.h>

#include "harness/base/check.h"
#include "harness/base/error.h"

namespace quantref {

const char* GranularityName(Granularity granularity) {
  switch (granularity) {
    case Granularity::kTensor:
      return "tensor";
    case Granularity::kRow:
      return "row";
    case Granularity::kColumn:
      return "column";
    case Granularity::kGroup:
      return "group";
  }
  QR_CHECK(false);
  return "";
}

std::string SchemeName(const WeightScheme& scheme) {
  const std::string reach = scheme.granularity == Granularity::kGroup
                                ? fmt::format("g{}", scheme.group)
                                : GranularityName(scheme.granularity);
  const char* range = "";
  if (scheme.symmetric && scheme.full_range) range = " full";
  if (!scheme.symmetric && !scheme.zero_in_range) range = " min-max";
  return fmt::format("int{} {} {}{}", scheme.bits, reach, scheme.symmetric ? "sym" : "asym", range);
}

void CheckApplies(const WeightScheme& scheme, const std::string& name, size_t rows, size_t cols) {
  if (scheme.bits < kMinBits || scheme.bits > kMaxBits) {
    throw Error(fmt::format("expected {} to {} bits, found {}", kMinBits, kMaxBits, scheme.bits),
                name);
  }
  if (scheme.granularity != Granularity::kGroup) return;
  if (scheme.group == 0 || cols % scheme.group != 0) {
    throw Error(fmt::format("group {} does not divide the {} inputs of this ({}, {}) matrix",
                            scheme.group, cols, rows, cols),
                name,
                "choose a group that divides it, or 'group: row', or an override for this layer");
  }
}

}  // namespace quantref
