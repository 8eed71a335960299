#include "harness/quant/scheme.h"

#include <fmt/format.h>

#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/quant/format.h"

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

bool WeightScheme::HasZeros() const { return format->zero == ZeroKind::kCode && !symmetric; }

WeightScheme SchemeOf(const NumberFormat& format) {
  WeightScheme scheme{.group = format.group, .format = &format};
  if (format.bits() > 0) scheme.bits = format.bits();
  return scheme;
}

std::string ReachName(const WeightScheme& scheme) {
  return scheme.granularity == Granularity::kGroup ? fmt::format("g{}", scheme.group)
                                                   : GranularityName(scheme.granularity);
}

std::string SchemeName(const WeightScheme& scheme) {
  const std::string_view name = scheme.format->name;
  if (!scheme.format->affine()) return fmt::format("{} {}", name, ReachName(scheme));
  const char* range = "";
  if (scheme.symmetric && scheme.full_range) range = " full";
  if (!scheme.symmetric && !scheme.zero_in_range) range = " min-max";
  return fmt::format("{}{} {} {}{}", name, scheme.bits, ReachName(scheme),
                     scheme.symmetric ? "sym" : "asym", range);
}

void CheckApplies(const WeightScheme& scheme, const std::string& name) {
  if (scheme.bits < kMinBits || scheme.bits > kMaxBits) {
    throw Error(fmt::format("expected {} to {} bits, found {}", kMinBits, kMaxBits, scheme.bits),
                name);
  }
  if (const int own = scheme.format->bits(); own > 0 && scheme.bits != own) {
    throw Error(
        fmt::format("{} has codes of {} bits, found {}", scheme.format->name, own, scheme.bits),
        name);
  }
  if (scheme.granularity == Granularity::kGroup && scheme.group == 0)
    throw Error("expected a group of at least 1 input, found 0", name);
}

}  // namespace quantref
