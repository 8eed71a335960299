#include "harness/quant/kv_scheme.h"

#include <fmt/format.h>

#include <cmath>

#include "harness/base/half.h"

namespace quantref {
namespace {

uint16_t StoredHalf(float value) {
  return FloatToHalf(std::clamp(value, -kMaxHalf, kMaxHalf));  // keeps a NaN
}

}  // namespace

const char* KvReachName(KvReach reach) {
  switch (reach) {
    case KvReach::kChannel:
      return "channel";
    case KvReach::kToken:
      return "token";
    case KvReach::kHead:
      break;
  }
  return "head";
}

std::string KvName(const KvScheme& scheme) {
  std::string name =
      fmt::format("kv{} {}/{}", scheme.bits, KvReachName(scheme.keys), KvReachName(scheme.values));
  const bool grouped = scheme.keys != KvReach::kHead || scheme.values != KvReach::kHead;
  if (grouped) name += scheme.group == 0 ? " row" : fmt::format(" g{}", scheme.group);
  if (scheme.symmetric) name += " sym";
  if (scheme.residual > 0) name += fmt::format(" r{}", scheme.residual);
  return name;
}

KvGrid KvGridFor(const KvScheme& scheme, float lo, float hi) {
  if (scheme.symmetric) {
    const float largest = std::max(std::fabs(lo), std::fabs(hi));
    return {StoredHalf(largest / static_cast<float>(scheme.Limit())), 0};
  }
  const uint16_t minimum = StoredHalf(lo);
  const float scale = (hi - HalfToFloat(minimum)) / static_cast<float>(scheme.Levels());
  return {StoredHalf(scale <= 0 ? 0.0f : scale), minimum};
}

KvRounder::KvRounder(const KvScheme& scheme, const KvGrid& grid) : scale_(HalfToFloat(grid.scale)) {
  const auto limit = static_cast<float>(scheme.Limit());
  minimum_ = scheme.symmetric ? -limit * scale_ : HalfToFloat(grid.minimum);
  offset_ = scheme.symmetric ? 0.0f : minimum_;
  low_ = scheme.symmetric ? -limit : 0.0f;
  high_ = scheme.symmetric ? limit : static_cast<float>(scheme.Levels());
  divisor_ = scale_ > 0 ? scale_ : INFINITY;
}

}  // namespace quantref
