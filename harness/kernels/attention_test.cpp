#include "harness/kernels/attention.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <vector>

#include "harness/base/half.h"
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

TEST_CASE("attention kernels: to the bit as defined, and within their arrays",
          "[attention][any_isa]") {
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

TEST_CASE("attention kernels: rows of scores may lie apart", "[attention][any_isa]") {
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

// Code i of a block, bit by bit.
unsigned CodeOf(const std::vector<uint8_t>& bytes, size_t block, int bits, size_t i) {
  unsigned code = 0;
  for (int bit = 0; bit < bits; ++bit) {
    const size_t at = (block * kPanel + i) * static_cast<size_t>(bits) + static_cast<size_t>(bit);
    code |= (bytes[at / 8] >> (at % 8) & 1u) << bit;
  }
  return code;
}

TEST_CASE("attention kernels: codes of a cache are decoded as defined", "[attention][any_isa]") {
  Rng rng(3);
  for (const Isa isa : AvailableIsas()) {
    const AttentionKernels& kernels = AttentionKernelsFor(isa);
    for (int bits = 2; bits <= 8; ++bits) {
      for (const size_t blocks : {1, 3, 64}) {
        for (const bool symmetric : {false, true}) {
          constexpr size_t kStride = 3;
          INFO(kernels.name << ", " << bits << " bits, " << blocks << " blocks");
          std::vector<uint8_t> codes(blocks * 2 * static_cast<size_t>(bits) +
                                     AttentionKernels::kPadding);
          for (uint8_t& byte : codes) byte = static_cast<uint8_t>(rng.Below(256));
          std::vector<uint16_t> scales((std::max<size_t>(blocks, kPanel) - 1) * kStride + 1),
              minima(scales.size());
          for (uint16_t& half : scales) half = FloatToHalf(static_cast<float>(rng.Normal()));
          for (uint16_t& half : minima) half = FloatToHalf(static_cast<float>(rng.Normal()));
          const auto value = [&](size_t at, unsigned code) {
            const float scale = HalfToFloat(scales[at]);
            const int least = 1 - (1 << (bits - 1));
            return symmetric ? scale * static_cast<float>(static_cast<int>(code) + least)
                             : HalfToFloat(minima[at]) + scale * static_cast<float>(code);
          };
          Floats of_blocks, of_lanes;
          for (size_t j = 0; j < blocks; ++j) {
            for (size_t i = 0; i < kPanel; ++i) {
              of_blocks.push_back(value(j * kStride, CodeOf(codes, j, bits, i)));
              of_lanes.push_back(value(i, CodeOf(codes, j, bits, i)));
            }
          }
          GuardedArray<uint8_t> guarded(codes);
          GuardedArray<float> out(blocks * kPanel);
          const uint16_t* const least = symmetric ? nullptr : minima.data();
          kernels.decode_blocks(guarded.data(), bits, blocks, scales.data(), least, kStride,
                                out.data());
          CHECK(out.Values() == of_blocks);
          kernels.decode_lanes(guarded.data(), bits, blocks, scales.data(), least, out.data());
          CHECK(out.Values() == of_lanes);
        }
      }
    }
  }
}

}  // namespace
}  // namespace quantref
