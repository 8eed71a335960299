#include "harness/kernels/thin_gemm.h"

#include <algorithm>
#include <bit>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "harness/base/half.h"
#include "harness/base/rng.h"
#include "harness/kernels/isa.h"
#include "harness/kernels/kernels_oracle.h"
#include "harness/kernels/kernels_testing.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

using testing::AvailableIsas;
using testing::GuardedArray;
using testing::NastySizes;
using testing::NormalFloats;
using testing::SameBits;

using Floats = std::vector<float>;
using Type = DenseRows::Type;
constexpr Type kTypes[] = {Type::kFp16, Type::kBf16, Type::kFp32};

// W (out, in) as it is stored, up to the end of its memory, and the same numbers in FP32.
struct Stored {
  Stored(Type stored_type, size_t out, size_t in, Rng& rng)
      : type(stored_type), rows(out), cols(in), values(NormalFloats(out * in, 0.5, rng)) {
    std::vector<uint16_t> narrow(values.size());
    for (size_t i = 0; i < values.size(); ++i) {
      if (type == Type::kFp16) {
        narrow[i] = FloatToHalf(values[i]);
        values[i] = HalfToFloat(narrow[i]);
      } else if (type == Type::kBf16) {
        narrow[i] = static_cast<uint16_t>(std::bit_cast<uint32_t>(values[i]) >> 16);
        values[i] = BFloatToFloat(narrow[i]);
      }
    }
    const auto* bytes = type == Type::kFp32 ? reinterpret_cast<const uint8_t*>(values.data())
                                            : reinterpret_cast<const uint8_t*>(narrow.data());
    storage.assign(bytes, bytes + values.size() * (type == Type::kFp32 ? 4 : 2));
  }

  Type type;
  size_t rows, cols;
  Floats values;
  std::vector<uint8_t> storage;
};

// y (tokens, out) by one table. Every array ends where its memory does; rows of y lie apart, and
// what is between them must stay.
Floats Run(Isa isa, const Stored& w, const Floats& x, size_t tokens) {
  constexpr float kUntouched = -77.0f;
  const size_t stride = w.rows + 3;
  GuardedArray<uint8_t> weights(w.storage);
  GuardedArray<float> input(x);
  GuardedArray<float> output(Floats((tokens - 1) * stride + w.rows, kUntouched));
  const ThinProduct product = {weights.data(), w.rows, w.cols,        input.data(),
                               w.cols,         tokens, output.data(), stride};
  const ThinKernels& kernels = ThinKernelsFor(isa);
  if (w.type == Type::kFp16) kernels.half(product);
  if (w.type == Type::kBf16) kernels.bfloat(product);
  if (w.type == Type::kFp32) kernels.single(product);
  const Floats found = output.Values();
  Floats y;
  bool untouched = true;
  for (size_t i = 0; i < found.size(); ++i) {
    if (i % stride < w.rows) y.push_back(found[i]);
    if (i % stride >= w.rows) untouched &= found[i] == kUntouched;
  }
  CHECK(untouched);
  return y;
}

void CheckAgainstDefinition(const Stored& w, const Floats& x, size_t tokens) {
  Floats expected;
  double worst = 0;
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t o = 0; o < w.rows; ++o) {
      const std::span row(&w.values[o * w.cols], w.cols), input(&x[t * w.cols], w.cols);
      expected.push_back(testing::ThinDefinition(row, input));
      const auto [exact, magnitude] = testing::Exact(input, row);
      const double error = std::fabs(static_cast<double>(expected.back()) - exact) / magnitude;
      testing::KeepWorst(error, worst);
    }
  }
  // in / 16 roundings of a lane and 4 of the fold, each of 2^-24 of at most the magnitude.
  CHECK(worst <= 0x1p-24 * static_cast<double>(w.cols / 16 + 5));
  for (const Isa isa : AvailableIsas()) {
    INFO(IsaName(isa) << ", type " << static_cast<int>(w.type) << ", " << w.rows << " x " << w.cols
                      << ", " << tokens << " tokens");
    CHECK(SameBits(Run(isa, w, x, tokens), expected));
  }
}

TEST_CASE("thin_gemm: every length of the sum, the defined bits on every instruction set",
          "[thin_gemm][any_isa]") {
  Rng rng(1);
  for (const Type type : kTypes) {
    for (const size_t in : NastySizes()) {
      const Stored w(type, 11, in, rng);
      for (const size_t tokens : {1, 3, 8})
        CheckAgainstDefinition(w, NormalFloats(tokens * in, 1, rng), tokens);
    }
  }
}

TEST_CASE("thin_gemm: every number of tokens and of rows", "[thin_gemm][any_isa]") {
  Rng rng(2);
  for (const Type type : kTypes) {
    for (size_t tokens = 1; tokens <= 18; ++tokens) {
      for (const size_t out : {1, 2, 3, 4, 5, 6, 7, 8, 9, 23, 24, 25, 49}) {
        const Stored w(type, out, 37, rng);
        CheckAgainstDefinition(w, NormalFloats(tokens * 37, 1, rng), tokens);
      }
    }
  }
}

// The longer a row, the fewer tokens some instruction sets take in a pass.
TEST_CASE("thin_gemm: long rows", "[thin_gemm][any_isa]") {
  Rng rng(6);
  for (const Type type : kTypes) {
    for (const size_t in : {1194, 1400, 1433, 1790, 2400}) {
      const Stored w(type, 26, in, rng);
      for (const size_t tokens : {4, 7, 13})
        CheckAgainstDefinition(w, NormalFloats(tokens * in, 1, rng), tokens);
    }
  }
}

TEST_CASE("thin_gemm: all FP16 and BF16 patterns are converted exactly", "[thin_gemm][any_isa]") {
  for (const Type type : {Type::kFp16, Type::kBf16}) {
    // One weight a row and x = 1: the outputs are the weights, but that a zero has no sign.
    Rng rng(3);
    Stored w(type, 65536, 1, rng);
    for (size_t i = 0; i < 65536; ++i) {
      w.storage[2 * i] = static_cast<uint8_t>(i & 0xff);
      w.storage[2 * i + 1] = static_cast<uint8_t>(i >> 8);
    }
    for (const Isa isa : AvailableIsas()) {
      const Floats y = Run(isa, w, {1.0f}, 1);
      size_t wrong = 0;
      for (size_t i = 0; i < 65536; ++i) {
        const uint16_t bits = static_cast<uint16_t>(i);
        const float expected = type == Type::kFp16 ? HalfToFloat(bits) : BFloatToFloat(bits);
        wrong += std::isnan(expected) ? !std::isnan(y[i]) : y[i] != expected;
      }
      INFO(IsaName(isa));
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("thin_gemm: NaN and infinity reach their outputs and no other", "[thin_gemm][any_isa]") {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  Rng rng(4);
  for (const size_t at : {0, 15, 16, 36}) {
    for (const Isa isa : AvailableIsas()) {
      const Stored w(Type::kFp32, 9, 37, rng);
      Floats x = NormalFloats(2 * 37, 1, rng);
      const Floats clean = Run(isa, w, x, 2);
      x[37 + at] = std::numeric_limits<float>::quiet_NaN();
      const Floats with_nan = Run(isa, w, x, 2);
      x[37 + at] = kInf;
      const Floats with_inf = Run(isa, w, x, 2);
      for (size_t o = 0; o < 9; ++o) {
        CHECK(SameBits({&with_nan[o], 1}, {&clean[o], 1}));
        CHECK(SameBits({&with_inf[o], 1}, {&clean[o], 1}));
        CHECK(std::isnan(with_nan[9 + o]));
        CHECK(with_inf[9 + o] == (w.values[o * 37 + at] > 0 ? kInf : -kInf));
      }
    }
  }
}

TEST_CASE("thin_gemm: MultiplyThin is the active set's table; its bits depend on the row alone",
          "[thin_gemm]") {
  Rng rng(5);
  constexpr size_t kOut = 50, kIn = 70, kTokens = 15;
  for (const Type type : kTypes) {
    const Stored w(type, kOut, kIn, rng);
    const Floats x = NormalFloats(kTokens * kIn, 1, rng);
    const Floats expected = Run(ActiveIsa(), w, x, kTokens);
    const DenseRows all{w.storage.data(), type, kOut, kIn};
    for (const auto& [first, count] : {std::pair<size_t, size_t>{0, 50}, {1, 1}, {13, 30}}) {
      for (size_t tokens = 1; tokens <= kTokens; ++tokens) {
        Matrix<float> y(tokens, count);
        MultiplyThin({x.data() + (kTokens - tokens) * kIn, tokens, kIn}, all.Rows(first, count),
                     y.view());
        bool same = true;
        for (size_t t = 0; t < tokens; ++t) {
          same &= SameBits(y.view().row_span(t),
                           {&expected[(kTokens - tokens + t) * kOut + first], count});
        }
        INFO(count << " rows from " << first << ", " << tokens << " tokens");
        CHECK(same);
      }
    }
  }
}

TEST_CASE("thin_gemm: nothing to do", "[thin_gemm]") {
  const std::vector<uint16_t> weights(6);
  const DenseRows w{weights.data(), Type::kFp16, 2, 3};
  Matrix<float> x(1, 3), y(1, 2);
  MultiplyThin(x.view().Rows(0, 0), w, y.view().Rows(0, 0));
  MultiplyThin(x.view(), w.Rows(2, 0), y.view().Cols(0, 0));
}

TEST_CASE("thin_gemm: the tables are complete and each is its own", "[thin_gemm]") {
  for (const Isa isa : KnownIsas()) {
    const ThinKernels& kernels = ThinKernelsFor(isa);
    CHECK((kernels.half && kernels.bfloat && kernels.single));
    if (isa != Isa::kAmx) CHECK(kernels.name == std::string(IsaName(isa)));
    for (const Isa other : KnownIsas()) {
      // One copy for two tables would mean that the linker chose one file's code for both.
      if (&ThinKernelsFor(other) != &kernels) CHECK(kernels.half != ThinKernelsFor(other).half);
    }
  }
}

}  // namespace
}  // namespace quantref
