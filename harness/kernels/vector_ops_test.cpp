#include "harness/kernels/vector_ops.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "harness/base/half.h"
#include "harness/base/rng.h"
#include "harness/kernels/isa.h"
#include "harness/kernels/kernels_testing.h"
#include "harness/quant/affine.h"
#include "harness/quant/packed_matrix.h"

// The operations whose results are exact, or rounded element by element. Every instruction set of
// this CPU is held against a reference that needs no proof; where the reference is exact to the
// bit, they equal each other too.

namespace quantref {
namespace {

using testing::AvailableIsas;
using testing::GuardedArray;
using testing::NastySizes;
using testing::NormalFloats;
using testing::SameBits;

using Floats = std::vector<float>;

// One op that turns FP16 or BF16 patterns into floats, and its specification.
struct Conversion {
  void (*VectorOps::*op)(const uint16_t*, float*, size_t);
  float (*spec)(uint16_t);
};
const Conversion kConversions[] = {{&VectorOps::half_to_float, HalfToFloat},
                                   {&VectorOps::bfloat_to_float, BFloatToFloat}};

void CheckConversion(const VectorOps& ops, const Conversion& conversion,
                     const std::vector<uint16_t>& patterns) {
  GuardedArray<uint16_t> in(patterns);
  GuardedArray<float> out(patterns.size());
  (ops.*conversion.op)(in.data(), out.data(), patterns.size());
  const Floats found = out.Values();
  for (size_t i = 0; i < patterns.size(); ++i) {
    const float expected = conversion.spec(patterns[i]);
    if (!SameBits({&found[i], 1}, {&expected, 1})) {
      FAIL(ops.name << ": pattern " << patterns[i] << " at " << i << " of " << patterns.size()
                    << ": " << found[i] << ", expected " << expected);
    }
  }
}

TEST_CASE("vector_ops: all FP16 and BF16 patterns convert exactly, NaN to the bit",
          "[vector_ops][any_isa]") {
  std::vector<uint16_t> all(65536);
  std::iota(all.begin(), all.end(), uint16_t{0});
  for (Isa isa : AvailableIsas()) {
    for (const Conversion& conversion : kConversions) {
      CheckConversion(OpsFor(isa), conversion, all);
    }
  }
}

TEST_CASE("vector_ops: conversions of every size", "[vector_ops][any_isa]") {
  Rng rng(1);
  for (size_t n : NastySizes()) {
    std::vector<uint16_t> patterns(n);
    for (uint16_t& pattern : patterns) pattern = static_cast<uint16_t>(rng.Below(65536));
    for (Isa isa : AvailableIsas()) {
      for (const Conversion& conversion : kConversions) {
        CheckConversion(OpsFor(isa), conversion, patterns);
      }
    }
  }
}

TEST_CASE("vector_ops: unpack_codes equals PackedMatrix::GetCodes", "[vector_ops][any_isa]") {
  Rng rng(2);
  for (int bits = kMinBits; bits <= kMaxBits; ++bits) {
    for (size_t n : NastySizes()) {
      PackedMatrix matrix(1, n, {.bits = bits, .granularity = Granularity::kRow});
      std::vector<uint8_t> codes(n);
      for (uint8_t& code : codes) code = static_cast<uint8_t>(rng.Below(uint64_t{1} << bits));
      matrix.SetCodes(0, codes);
      const size_t bytes = (n * static_cast<size_t>(bits) + 7) / 8;
      // The 8 bytes that may be read are there, and what they hold must not matter.
      std::vector<uint8_t> bytes_and_junk(bytes + 8, 0xff);
      std::copy_n(matrix.packed_row(0), bytes, bytes_and_junk.begin());
      GuardedArray<uint8_t> packed(bytes_and_junk);
      matrix.GetCodes(0, codes);
      for (Isa isa : AvailableIsas()) {
        GuardedArray<uint8_t> out(n);
        OpsFor(isa).unpack_codes(packed.data(), bits, n, out.data());
        INFO(IsaName(isa) << ", " << bits << " bits, " << n << " codes");
        CHECK(out.Values() == codes);
      }
    }
  }
}

TEST_CASE("vector_ops: decode_codes equals Decode for every code and zero",
          "[vector_ops][any_isa]") {
  std::vector<uint8_t> codes(256);
  std::iota(codes.begin(), codes.end(), uint8_t{0});
  GuardedArray<uint8_t> in(codes);
  for (float scale : {0.0f, 0x1p-24f, RoundToHalf(0.1f), 1.0f, kMaxHalf}) {
    for (int zero = 0; zero < 256; ++zero) {
      Floats expected(256);
      for (int code = 0; code < 256; ++code) {
        expected[static_cast<size_t>(code)] = Decode(code, {scale, zero});
      }
      for (Isa isa : AvailableIsas()) {
        GuardedArray<float> out(256);
        OpsFor(isa).decode_codes(in.data(), 256, scale, static_cast<float>(zero), out.data());
        if (!SameBits(out.Values(), expected)) {
          FAIL(IsaName(isa) << ", scale " << scale << ", zero " << zero);
        }
      }
    }
  }
}

TEST_CASE("vector_ops: decode_codes of every size", "[vector_ops][any_isa]") {
  Rng rng(3);
  const Affine affine{RoundToHalf(0.037f), 119};
  for (size_t n : NastySizes()) {
    std::vector<uint8_t> codes(n);
    Floats expected(n);
    for (size_t i = 0; i < n; ++i) {
      codes[i] = static_cast<uint8_t>(rng.Below(256));
      expected[i] = Decode(codes[i], affine);
    }
    GuardedArray<uint8_t> in(codes);
    for (Isa isa : AvailableIsas()) {
      GuardedArray<float> out(n);
      OpsFor(isa).decode_codes(in.data(), n, affine.scale, 119.0f, out.data());
      INFO(IsaName(isa) << ", " << n << " codes");
      CHECK(SameBits(out.Values(), expected));
    }
  }
}

TEST_CASE("vector_ops: look_up equals the table's number times the scale, of every size",
          "[vector_ops][any_isa]") {
  Rng rng(12);
  const Floats table = NormalFloats(kLookUpSize, 1, rng);
  constexpr float kScale = 0.037f;
  for (size_t n : NastySizes()) {
    std::vector<uint8_t> codes(n);
    Floats expected(n);
    for (size_t i = 0; i < n; ++i) {
      codes[i] = static_cast<uint8_t>(rng.Below(kLookUpSize));
      expected[i] = kScale * table[codes[i]];
    }
    GuardedArray<uint8_t> in(codes);
    GuardedArray<float> sixteen(table);
    for (Isa isa : AvailableIsas()) {
      GuardedArray<float> out(n);
      OpsFor(isa).look_up(in.data(), n, sixteen.data(), kScale, out.data());
      INFO(IsaName(isa) << ", " << n << " codes");
      CHECK(SameBits(out.Values(), expected));
    }
  }
}

TEST_CASE("vector_ops: scale and add round each element once", "[vector_ops][any_isa]") {
  Rng rng(4);
  for (size_t n : NastySizes()) {
    const Floats x = NormalFloats(n, 10, rng), addend = NormalFloats(n, 1e-3, rng);
    Floats scaled(n), added(n);
    for (size_t i = 0; i < n; ++i) {
      // The double product of two floats is exact, and so is the double sum of these: one rounding.
      scaled[i] = static_cast<float>(static_cast<double>(x[i]) * static_cast<double>(0.3f));
      added[i] = static_cast<float>(static_cast<double>(x[i]) + static_cast<double>(addend[i]));
    }
    for (Isa isa : AvailableIsas()) {
      GuardedArray<float> to_scale(x), to_add(x), more(addend);
      OpsFor(isa).scale(to_scale.data(), 0.3f, n);
      OpsFor(isa).add(to_add.data(), more.data(), n);
      INFO(IsaName(isa) << ", " << n << " elements");
      CHECK(SameBits(to_scale.Values(), scaled));
      CHECK(SameBits(to_add.Values(), added));
    }
  }
}

TEST_CASE("vector_ops: subtract_scaled rounds the product and the difference",
          "[vector_ops][any_isa]") {
  Rng rng(6);
  for (size_t n : NastySizes()) {
    const Floats x = NormalFloats(n, 1, rng), y = NormalFloats(n, 3, rng);
    Floats expected(n);
    for (size_t i = 0; i < n; ++i) {
      // As above: what is exact in double is rounded once. A fused multiply-add would differ.
      const float product =
          static_cast<float>(static_cast<double>(0.3f) * static_cast<double>(y[i]));
      expected[i] = static_cast<float>(static_cast<double>(x[i]) - static_cast<double>(product));
    }
    for (Isa isa : AvailableIsas()) {
      GuardedArray<float> found(x), subtrahend(y);
      OpsFor(isa).subtract_scaled(found.data(), 0.3f, subtrahend.data(), n);
      INFO(IsaName(isa) << ", " << n << " elements");
      CHECK(SameBits(found.Values(), expected));
      CHECK(SameBits(subtrahend.Values(), y));
    }
  }
}

struct RopeInput {
  Floats x, cosines, sines;
};

RopeInput RandomRopeInput(size_t half, Rng& rng) {
  RopeInput input{NormalFloats(2 * half, 3, rng), Floats(half), Floats(half)};
  for (size_t i = 0; i < half; ++i) {
    const double angle = 2048 * rng.Uniform();
    input.cosines[i] = static_cast<float>(std::cos(angle));
    input.sines[i] = static_cast<float>(std::sin(angle));
  }
  return input;
}

Floats RunRope(const VectorOps& ops, const RopeInput& input) {
  GuardedArray<float> x(input.x), cosines(input.cosines), sines(input.sines);
  ops.rope(x.data(), cosines.data(), sines.data(), input.cosines.size());
  return x.Values();
}

TEST_CASE("vector_ops: rope rotates the pairs half a head apart", "[vector_ops][any_isa]") {
  Rng rng(5);
  for (size_t half : NastySizes()) {
    const RopeInput input = RandomRopeInput(half, rng);
    const Floats scalar = RunRope(kScalarOps, input);
    for (Isa isa : AvailableIsas()) {
      const Floats found = RunRope(OpsFor(isa), input);
      INFO(IsaName(isa) << ", " << half << " pairs");
      CHECK(SameBits(found, scalar));
      for (size_t i = 0; i < half; ++i) {
        const double a = static_cast<double>(input.x[i]);
        const double b = static_cast<double>(input.x[half + i]);
        const double c = static_cast<double>(input.cosines[i]);
        const double s = static_cast<double>(input.sines[i]);
        // Two products and their sum, each rounded by 2^-24 at most.
        const double bound = 0x1p-23 * (std::fabs(a * c) + std::fabs(b * s));
        const double other_bound = 0x1p-23 * (std::fabs(b * c) + std::fabs(a * s));
        const double error = std::fabs(static_cast<double>(found[i]) - (a * c - b * s));
        const double other_error =
            std::fabs(static_cast<double>(found[half + i]) - (b * c + a * s));
        if (!(error <= bound && other_error <= other_bound)) FAIL("pair " << i);
      }
    }
  }
}

TEST_CASE("vector_ops: rope by a quarter turn swaps the halves", "[vector_ops][any_isa]") {
  for (Isa isa : AvailableIsas()) {
    const RopeInput quarter{{1, 2, 3, 4}, {0, 0}, {1, 1}};
    CHECK(RunRope(OpsFor(isa), quarter) == Floats{-3, -4, 1, 2});
    const RopeInput none{{1, 2, 3, 4}, {1, 1}, {0, 0}};
    CHECK(RunRope(OpsFor(isa), none) == Floats{1, 2, 3, 4});
  }
}

TEST_CASE("vector_ops: the tables are complete and each is its own", "[vector_ops][any_isa]") {
  for (Isa isa : KnownIsas()) {
    const VectorOps& ops = OpsFor(isa);
    INFO(ops.name);
    CHECK((ops.half_to_float && ops.bfloat_to_float && ops.decode_codes && ops.look_up));
    CHECK(ops.unpack_codes);
    CHECK((ops.rms_norm && ops.layer_norm && ops.rope && ops.softmax_numerators));
    CHECK((ops.silu_multiply && ops.gelu_multiply && ops.relu && ops.soft_cap));
    CHECK((ops.scale && ops.add && ops.subtract_scaled && ops.abs_max && ops.round_to_grid));
    CHECK((ops.log_sum_exp && ops.mean_difference && ops.probabilities && ops.weighted_difference &&
           ops.dots && ops.mix_rows));
    for (Isa other : KnownIsas()) {
      // One copy for two tables would mean that the linker chose one file's code for both.
      // AMX has none of its own.
      if (&OpsFor(other) != &ops) CHECK(ops.log_sum_exp != OpsFor(other).log_sum_exp);
    }
  }
}

}  // namespace
}  // namespace quantref
