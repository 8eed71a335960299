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

bool WeightScheme::HasZeros() const { return format->zero != ZeroKind::kNone && !symmetric; }

ScaleType WeightScheme::scale_type() const {
  return double_quant ? ScaleType::kDynamic8 : format->scale;
}

WeightScheme SchemeOf(const NumberFormat& format) {
  WeightScheme scheme{.granularity = format.granularity, .group = format.group, .format = &format};
  if (format.bits() > 0) scheme.bits = format.bits();
  return scheme;
}

std::string ReachName(const WeightScheme& scheme) {
  return scheme.granularity == Granularity::kGroup ? fmt::format("g{}", scheme.group)
                                                   : GranularityName(scheme.granularity);
}

std::string SchemeName(const WeightScheme& scheme) {
  const std::string_view name = scheme.format->name;
  if (!scheme.format->affine()) {
    const std::string bits = scheme.format->evenly_spaced() ? std::to_string(scheme.bits) : "";
    return fmt::format("{}{} {}{}", name, bits, ReachName(scheme),
                       scheme.double_quant ? " dq" : "");
  }
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
  const NumberFormat& format = *scheme.format;
  if (format.fixed_group &&
      (scheme.granularity != Granularity::kGroup || scheme.group != format.group)) {
    throw Error(fmt::format("{} has a scale for each {} inputs by definition, found {}",
                            format.name, format.group, ReachName(scheme)),
                name);
  }
  if (scheme.symmetric && format.zero == ZeroKind::kHalf)
    throw Error(fmt::format("{} has zero points by definition, found symmetric", format.name),
                name);
  if (scheme.double_quant && !format.allows_double_quant()) {
    throw Error(fmt::format("double_quant quantizes FP32 scales, and those of {} are {}",
                            format.name, ScaleTypeName(format.scale)),
                name);
  }
}

}  // namespace quantref
