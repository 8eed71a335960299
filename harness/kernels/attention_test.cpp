#include "harness/kernels/attention.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "harness/base/rng.h"
#include "harness/kernels/kernels_testing.h"

namespace quantref {
namespace {

using testing::AvailableIsas;
using testing::GuardedArray;
using testing::NastySizes;
using testing::NormalFloats;
using testing::SameBits;

using Floats = std::vector<float>;

constexpr size_t kMost = AttentionKernels::kMostQueries, kPanel = 16;

// By their definitions, one fused multiply-add after the other.
Floats ExpectedScores(size_t queries, const Floats& q, const Floats& keys, size_t channels) {
  Floats scores(queries * kPanel);
  for (size_t g = 0; g < queries; ++g) {
    for (size_t i = 0; i < kPanel; ++i) {
      float sum = 0;
      for (size_t c = 0; c < channels; ++c)
        sum = std::fma(q[c * queries + g], keys[c * kPanel + i], sum);
      scores[g * kPanel + i] = sum;
    }
  }
  return scores;
}

Floats ExpectedMix(size_t queries, const Floats& weights, const Floats& values, size_t keys) {
  Floats mixed(queries * kPanel);
  for (size_t g = 0; g < queries; ++g) {
    for (size_t i = 0; i < kPanel; ++i) {
      float sum = 0;
      for (size_t s = 0; s < keys; ++s)
        sum = std::fma(weights[g * keys + s], values[s * kPanel + i], sum);
      mixed[g * kPanel + i] = sum;
    }
  }
  return mixed;
}

TEST_CASE("attention kernels: to the bit as defined, and within their arrays", "[attention]") {
  Rng rng(1);
  for (const Isa isa : AvailableIsas()) {
    const AttentionKernels& kernels = AttentionKernelsFor(isa);
    REQUIRE(kernels.queries <= kMost);
    const size_t queries = kernels.queries;
    for (const size_t n : NastySizes()) {
      INFO(kernels.name << ", " << n);
      const Floats side = NormalFloats(queries * n, 1, rng),
                   panel = NormalFloats(n * kPanel, 1, rng);
      GuardedArray<float> sides(side), panels(panel), out(queries * kPanel);
      kernels.scores(sides.data(), panels.data(), n, out.data(), kPanel);
      CHECK(SameBits(out.Values(), ExpectedScores(queries, side, panel, n)));
      kernels.mix(sides.data(), n, panels.data(), n, out.data());
      CHECK(SameBits(out.Values(), ExpectedMix(queries, side, panel, n)));
    }
  }
}

TEST_CASE("attention kernels: rows of scores may lie apart", "[attention]") {
  Rng rng(2);
  for (const Isa isa : AvailableIsas()) {
    const AttentionKernels& kernels = AttentionKernelsFor(isa);
    const Floats side = NormalFloats(kernels.queries * 5, 1, rng),
                 panel = NormalFloats(5 * kPanel, 1, rng);
    const Floats expected = ExpectedScores(kernels.queries, side, panel, 5);
    Floats out(kernels.queries * 20, -1.0f);
    kernels.scores(side.data(), panel.data(), 5, out.data(), 20);
    for (size_t g = 0; g < kernels.queries; ++g) {
      CHECK(SameBits(std::span(out).subspan(g * 20, kPanel),
                     std::span(expected).subspan(g * kPanel, kPanel)));
      CHECK(SameBits(std::span(out).subspan(g * 20 + kPanel, 4), Floats(4, -1.0f)));
    }
  }
}

}  // namespace
}  // namespace quantref
