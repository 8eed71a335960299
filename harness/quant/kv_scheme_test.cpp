#include "harness/quant/kv_scheme.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>

#include "harness/base/half.h"
#include "harness/base/rng.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

TEST_CASE("kv scheme: which tokens a query sees rounded", "[kv_cache]") {
  // KIVI's algorithm 1, token by token.
  for (const KvReach reach : {KvReach::kChannel, KvReach::kToken, KvReach::kHead}) {
    for (const size_t residual : {0, 32, 64}) {
      const KvScheme scheme{.keys = reach, .group = 32, .residual = residual};
      size_t keys = 0, keys_wait = 0, values = 0, values_wait = 0;
      for (size_t seen = 1; seen <= 300; ++seen) {
        ++keys_wait;
        ++values_wait;
        const size_t block = residual == 0 ? 32 : residual;
        const bool channel = reach == KvReach::kChannel;
        const size_t ready = !channel             ? keys_wait - std::min(keys_wait, residual)
                             : keys_wait == block ? block
                                                  : 0;
        keys += ready;
        keys_wait -= ready;
        if (values_wait > residual) {
          ++values;
          --values_wait;
        }
        INFO(KvName(scheme) << ", " << seen);
        CHECK(scheme.RoundedKeys(seen) == keys);
        CHECK(scheme.RoundedValues(seen) == values);
        CHECK(std::max(keys_wait, values_wait) <= scheme.MostWaiting());
      }
    }
  }
}

TEST_CASE("kv scheme: names", "[kv_cache]") {
  CHECK(KvName({}) == "kv4 channel/token g64");
  CHECK(KvName({.bits = 2, .group = 32, .residual = 128}) == "kv2 channel/token g32 r128");
  CHECK(KvName({.bits = 8, .keys = KvReach::kHead, .values = KvReach::kHead, .symmetric = true}) ==
        "kv8 head/head sym");
  CHECK(KvName({.keys = KvReach::kToken, .group = 0}) == "kv4 token/token row");
}

// By the definition, in double where FP32 is not meant.
double RoundedByDefinition(const KvScheme& scheme, float lo, float hi, float x) {
  if (scheme.symmetric) {
    const float scale = RoundToHalf(std::max(std::fabs(lo), std::fabs(hi)) /
                                    static_cast<float>((1 << (scheme.bits - 1)) - 1));
    if (scale == 0.0f) return 0;
    const int limit = (1 << (scheme.bits - 1)) - 1;
    const double q = std::nearbyint(static_cast<double>(x / scale));
    return static_cast<double>(scale) * std::clamp<double>(q, -limit, limit);
  }
  const float minimum = RoundToHalf(lo);
  const float scale = RoundToHalf((hi - minimum) / static_cast<float>((1 << scheme.bits) - 1));
  if (!(scale > 0)) return static_cast<double>(minimum);
  const double q = std::nearbyint(static_cast<double>((x - minimum) / scale));
  return static_cast<double>(minimum) +
         static_cast<double>(scale) * std::clamp<double>(q, 0, (1 << scheme.bits) - 1);
}

TEST_CASE("kv scheme: numbers are rounded as defined", "[kv_cache]") {
  Rng rng(1);
  for (int bits = 2; bits <= 8; ++bits) {
    for (const bool symmetric : {false, true}) {
      const KvScheme scheme{.bits = bits, .symmetric = symmetric};
      for (int repetition = 0; repetition < 200; ++repetition) {
        const auto a = static_cast<float>(rng.Normal() * std::exp(3 * rng.Normal())),
                   b = a + static_cast<float>(std::fabs(rng.Normal()) * std::exp(rng.Normal()));
        const KvRounder rounder(scheme, KvGridFor(scheme, a, b));
        for (int i = 0; i <= 20; ++i) {
          const float x = a + (b - a) * static_cast<float>(i) / 20;
          INFO(KvName(scheme) << ", " << x << " of " << a << " to " << b);
          const uint8_t code = rounder.Code(x);
          CHECK(code <= (symmetric ? 2 * scheme.Limit() : scheme.Levels()));
          CHECK(rounder.Value(code) == static_cast<float>(RoundedByDefinition(scheme, a, b, x)));
        }
      }
    }
  }
}

TEST_CASE("kv scheme: nothing but one number, and numbers beyond FP16", "[kv_cache]") {
  for (const bool symmetric : {false, true}) {
    const KvScheme scheme{.symmetric = symmetric};
    const KvRounder zeros(scheme, KvGridFor(scheme, 0, 0));
    CHECK(zeros.Value(zeros.Code(0)) == 0);
    const KvRounder tiny(scheme, KvGridFor(scheme, 1e-12f, 2e-12f));
    CHECK(tiny.Value(tiny.Code(1e-12f)) == 0);
    const KvRounder loud(scheme, KvGridFor(scheme, -1e6f, 1e6f));
    CHECK(std::isfinite(loud.Value(loud.Code(1e6f))));
    const KvRounder none(scheme, KvGridFor(scheme, testing::kNan, testing::kNan));
    CHECK(std::isnan(none.Value(none.Code(1))));
    CHECK(std::isnan(none.Value(none.Code(testing::kInfinity))));
  }
  const KvScheme scheme;
  const KvRounder constant(scheme, KvGridFor(scheme, 0.1f, 0.1f));
  CHECK(constant.Value(constant.Code(0.1f)) == Approx(0.1).epsilon(1e-5));
}

}  // namespace
}  // namespace quantref
