#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <vector>

#include "harness/base/rng.h"
#include "harness/kernels/isa.h"
#include "harness/kernels/kernels_testing.h"
#include "harness/kernels/vector_ops.h"
#include "harness/testing/testing.h"

// The operations that round activations. All are exact, or rounded element by element.

namespace quantref {
namespace {

using testing::AvailableIsas;
using testing::GuardedArray;
using testing::NastySizes;
using testing::NormalFloats;
using testing::SameBits;

using Floats = std::vector<float>;

using testing::kInfinity;
using testing::kNan;

float AbsMax(Isa isa, const Floats& values) {
  GuardedArray<float> x(values);
  return OpsFor(isa).abs_max(x.data(), values.size());
}

TEST_CASE("vector_ops: abs_max finds the largest magnitude wherever it is",
          "[vector_ops][any_isa]") {
  Rng rng(1);
  for (size_t n : NastySizes()) {
    Floats x = NormalFloats(n, 1, rng);
    float expected = 0;
    for (float value : x) expected = std::max(expected, std::fabs(value));
    const size_t places[] = {0, n / 2, n - 1, rng.Below(n)};
    for (Isa isa : AvailableIsas()) {
      INFO(IsaName(isa) << ", " << n << " elements");
      CHECK(AbsMax(isa, x) == expected);
      for (size_t place : places) {
        for (float largest : {-9.0f, 9.0f}) {
          Floats changed = x;
          changed[place] = largest;
          CHECK(AbsMax(isa, changed) == 9.0f);
        }
      }
    }
  }
}

TEST_CASE("vector_ops: abs_max of nothing, zeros, infinities and the smallest",
          "[vector_ops][any_isa]") {
  constexpr float kSmallest = std::numeric_limits<float>::denorm_min();
  for (Isa isa : AvailableIsas()) {
    INFO(IsaName(isa));
    CHECK(AbsMax(isa, {}) == 0);
    CHECK_FALSE(std::signbit(AbsMax(isa, Floats(19, -0.0f))));
    CHECK(AbsMax(isa, {1, -kInfinity, 2}) == kInfinity);
    CHECK(AbsMax(isa, {0, -kSmallest, 0}) == kSmallest);
  }
}

// The definition, with the library's rounding. A code is an integer and has no -0.
float OnGrid(float x, float scale, float limit) {
  if (scale == 0) return 0;
  const float code = std::clamp(std::nearbyint(x / scale), -limit, limit) + 0.0f;
  return scale * code;
}

Floats RoundToGrid(Isa isa, const Floats& values, float scale, float limit) {
  GuardedArray<float> x(values), out(values.size());
  OpsFor(isa).round_to_grid(x.data(), scale, limit, out.data(), values.size());
  CHECK(SameBits(x.Values(), values));
  OpsFor(isa).round_to_grid(x.data(), scale, limit, x.data(), values.size());
  CHECK(SameBits(x.Values(), out.Values()));  // in place
  return out.Values();
}

TEST_CASE("vector_ops: round_to_grid equals its definition to the bit", "[vector_ops][any_isa]") {
  Rng rng(2);
  for (size_t n : NastySizes()) {
    const Floats x = NormalFloats(n, 10, rng);
    for (float limit : {1.0f, 7.0f, 127.0f}) {
      Floats expected(n);
      for (size_t i = 0; i < n; ++i) expected[i] = OnGrid(x[i], 0.37f, limit);
      for (Isa isa : AvailableIsas()) {
        INFO(IsaName(isa) << ", " << n << " elements, limit " << limit);
        CHECK(SameBits(RoundToGrid(isa, x, 0.37f, limit), expected));
      }
    }
  }
}

TEST_CASE("vector_ops: round_to_grid takes ties to even", "[vector_ops][any_isa]") {
  // Half steps of 1/4: exact, and so are their quotients.
  const Floats x = {0.125f, 0.375f, 0.625f, 0.875f, -0.125f, -0.375f, -0.625f, -0.875f};
  const Floats expected = {0, 0.5f, 0.5f, 1, 0, -0.5f, -0.5f, -1};
  // The last half step below 2^22, and its neighbours.
  const Floats large = {4194302.5f, 4194301.5f, -4194302.5f, -4194301.5f, 4194303.0f};
  const Floats even = {4194302, 4194302, -4194302, -4194302, 4194303};
  for (Isa isa : AvailableIsas()) {
    INFO(IsaName(isa));
    CHECK(RoundToGrid(isa, x, 0.25f, 7) == expected);
    CHECK(RoundToGrid(isa, large, 1, 4194303) == even);
  }
}

TEST_CASE("vector_ops: round_to_grid clamps whatever is beyond", "[vector_ops][any_isa]") {
  const float huge = std::numeric_limits<float>::max();
  const Floats x = {3.4f, 3.5f, 1e9f, huge, kInfinity, -3.4f, -3.5f, -1e9f, -huge, -kInfinity};
  for (Isa isa : AvailableIsas()) {
    INFO(IsaName(isa));
    CHECK(RoundToGrid(isa, x, 2, 3) == Floats{4, 4, 6, 6, 6, -4, -4, -6, -6, -6});
    CHECK(RoundToGrid(isa, x, 2, 1) == Floats{2, 2, 2, 2, 2, -2, -2, -2, -2, -2});
    // The quotients by the smallest scale are infinite.
    const float tiny = std::numeric_limits<float>::denorm_min();
    for (float value : RoundToGrid(isa, x, tiny, 3)) CHECK(std::fabs(value) == 3 * tiny);
    CHECK(RoundToGrid(isa, {3.4f, -3.4f}, 1e-30f, 127) == Floats{127 * 1e-30f, -127 * 1e-30f});
  }
}

TEST_CASE("vector_ops: round_to_grid with scale 0 gives zeros, of zeros too",
          "[vector_ops][any_isa]") {
  Rng rng(3);
  for (size_t n : {size_t{0}, size_t{1}, size_t{16}, size_t{19}}) {
    for (Isa isa : AvailableIsas()) {
      INFO(IsaName(isa) << ", " << n << " elements");
      CHECK(RoundToGrid(isa, NormalFloats(n, 1e6, rng), 0, 127) == Floats(n, 0.0f));
      CHECK(RoundToGrid(isa, Floats(n, 0.0f), 0, 127) == Floats(n, 0.0f));
      CHECK(RoundToGrid(isa, Floats(n, 0.0f), 0.5f, 127) == Floats(n, 0.0f));
    }
  }
}

TEST_CASE("vector_ops: round_to_grid keeps a NaN, and -0 becomes the code 0",
          "[vector_ops][any_isa]") {
  for (size_t n : {size_t{1}, size_t{16}, size_t{19}}) {
    for (size_t place : {size_t{0}, n - 1}) {
      for (float scale : {0.0f, 0.5f}) {
        Floats x(n, 1.0f);
        x[place] = kNan;
        for (Isa isa : AvailableIsas()) {
          const Floats found = RoundToGrid(isa, x, scale, 7);
          INFO(IsaName(isa) << ", " << n << " elements, scale " << scale);
          for (size_t i = 0; i < n; ++i) CHECK(std::isnan(found[i]) == (i == place));
        }
      }
    }
  }
  for (Isa isa : AvailableIsas()) {
    for (float x : {-0.0f, -0.2f, 0.2f}) {
      CHECK(SameBits(RoundToGrid(isa, {x}, 0.5f, 7), Floats{0.0f}));
    }
  }
}

}  // namespace
}  // namespace quantref
