#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "harness/base/rng.h"
#include "harness/kernels/isa.h"
#include "harness/kernels/kernels_testing.h"
#include "harness/kernels/vector_ops.h"
#include "harness/testing/testing.h"

// The operations with sums and exponentials: within a stated bound of a reference in double or long
// double for every instruction set of this CPU, and bit-identical between them.

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

// The documented order of a sum: 16 lanes, folded pairwise.
float SumInLanes(const Floats& terms) {
  std::array<float, 16> lanes{};
  for (size_t i = 0; i < terms.size(); ++i) lanes[i % 16] += terms[i];
  for (size_t width = 8; width > 0; width /= 2) {
    for (size_t i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}

Floats RunRmsNorm(const VectorOps& ops, const Floats& x, const Floats& gain, float eps) {
  GuardedArray<float> in(x), gains(gain), out(x.size());
  ops.rms_norm(in.data(), gains.data(), eps, out.data(), x.size());
  ops.rms_norm(in.data(), gains.data(), eps, in.data(), x.size());
  CHECK(SameBits(in.Values(), out.Values()));  // in place
  return out.Values();
}

TEST_CASE("vector_ops: rms_norm against double", "[vector_ops][any_isa]") {
  constexpr float kEps = 1e-5f;
  Rng rng(1);
  for (size_t n : NastySizes()) {
    Floats x = NormalFloats(n, 0.7, rng);
    x[rng.Below(n)] = 380;  // an outlier channel, as models have them
    const Floats gain = NormalFloats(n, 1, rng);
    double sum = 0;
    for (float v : x) sum += static_cast<double>(v) * static_cast<double>(v);
    const double root = std::sqrt(sum / static_cast<double>(n) + static_cast<double>(kEps));
    // Each sum of n / 16 squares, the folding, and the few operations after it round by 2^-24.
    const double bound = (static_cast<double>(n) / 16 + 10) * 0x1p-24;
    for (Isa isa : AvailableIsas()) {
      const Floats found = RunRmsNorm(OpsFor(isa), x, gain, kEps);
      for (size_t i = 0; i < n; ++i) {
        const double expected = static_cast<double>(x[i]) / root * static_cast<double>(gain[i]);
        if (!(std::fabs(static_cast<double>(found[i]) - expected) <= bound * std::fabs(expected))) {
          FAIL(IsaName(isa) << ", " << i << " of " << n << ": " << found[i] << ", " << expected);
        }
      }
    }
  }
}

TEST_CASE("vector_ops: rms_norm to the bit in the documented order", "[vector_ops][any_isa]") {
  Rng rng(2);
  for (size_t n : NastySizes()) {
    const Floats x = NormalFloats(n, 2, rng), gain = NormalFloats(n, 1, rng);
    Floats squares(n), expected(n);
    for (size_t i = 0; i < n; ++i) squares[i] = x[i] * x[i];
    const float mean = SumInLanes(squares) / static_cast<float>(n);
    const float factor = 1.0f / std::sqrt(mean + 1e-6f);
    for (size_t i = 0; i < n; ++i) expected[i] = x[i] * factor * gain[i];
    for (Isa isa : AvailableIsas()) {
      INFO(IsaName(isa) << ", " << n << " elements");
      CHECK(SameBits(RunRmsNorm(OpsFor(isa), x, gain, 1e-6f), expected));
    }
  }
}

TEST_CASE("vector_ops: rms_norm of zeros is zero", "[vector_ops][any_isa]") {
  for (Isa isa : AvailableIsas()) {
    CHECK(RunRmsNorm(OpsFor(isa), Floats(33, 0.0f), Floats(33, 1.0f), 1e-5f) == Floats(33, 0.0f));
  }
}

// An operation gate, up -> out.
using Gating = void (*VectorOps::*)(const float*, const float*, float*, size_t);

Floats RunGating(const VectorOps& ops, Gating gating, const Floats& gate, const Floats& up) {
  GuardedArray<float> gates(gate), ups(up), out(gate.size());
  (ops.*gating)(gates.data(), ups.data(), out.data(), gate.size());
  (ops.*gating)(gates.data(), ups.data(), gates.data(), gate.size());
  CHECK(SameBits(gates.Values(), out.Values()));  // in place
  return out.Values();
}
Floats RunSilu(const VectorOps& ops, const Floats& gate, const Floats& up) {
  return RunGating(ops, &VectorOps::silu_multiply, gate, up);
}

// gate times the sigmoid of exponent(gate), in which an error of `ulp` counts relatively.
template <typename Exponent>
void CheckGating(Gating gating, const Floats& gate, const Floats& up, double ulp,
                 const Exponent& exponent) {
  const Floats scalar = RunGating(kScalarOps, gating, gate, up);
  for (Isa isa : AvailableIsas()) {
    const Floats found = RunGating(OpsFor(isa), gating, gate, up);
    INFO(IsaName(isa) << ", " << gate.size() << " elements");
    CHECK(SameBits(found, scalar));
    for (size_t i = 0; i < gate.size(); ++i) {
      const double g = static_cast<double>(gate[i]), u = static_cast<double>(up[i]);
      const double x = exponent(g), expected = g / (1 + std::exp(-x)) * u;
      // The exponential's 2 ulp, three roundings; below an exponent of -88 the sigmoid stays at
      // exp(-88).
      const double bound = (7 * 0x1p-24 + ulp * std::fabs(std::min(x, 0.0))) * std::fabs(expected) +
                           std::fabs(g * u) * 7e-39;
      if (!(std::fabs(static_cast<double>(found[i]) - expected) <= bound)) {
        FAIL("gate " << g << " of " << u << " = " << found[i] << ", expected " << expected);
      }
    }
  }
}

// From -100 to 100, and edges.
Floats Gates() {
  Floats gate;
  for (int i = -12000; i <= 12000; ++i) gate.push_back(static_cast<float>(i) / 120);
  for (float edge :
       {-0.0f, 1e-30f, -1e-30f, 87.0f, -87.0f, 88.0f, -88.0f, 88.5f, -88.5f, 1e4f, -1e4f})
    gate.push_back(edge);
  return gate;
}

TEST_CASE("vector_ops: silu_multiply against double", "[vector_ops][any_isa]") {
  const auto check = [](const Floats& gate, const Floats& up) {
    CheckGating(&VectorOps::silu_multiply, gate, up, 0, [](double g) { return g; });
  };
  Rng rng(3);
  for (size_t n : NastySizes()) check(NormalFloats(n, 4, rng), NormalFloats(n, 1, rng));
  check(Gates(), NormalFloats(Gates().size(), 1, rng));
}

TEST_CASE("vector_ops: gelu_multiply against double", "[vector_ops][any_isa]") {
  // 2 sqrt(2 / pi) (g + 0.044715 g^3), whose rounding the exponential magnifies.
  const auto check = [](const Floats& gate, const Floats& up) {
    CheckGating(&VectorOps::gelu_multiply, gate, up, 4 * 0x1p-24,
                [](double g) { return 1.5957691216057308 * (g + 0.044715 * g * g * g); });
  };
  Rng rng(3);
  for (size_t n : NastySizes()) check(NormalFloats(n, 2, rng), NormalFloats(n, 1, rng));
  check(Gates(), NormalFloats(Gates().size(), 1, rng));
}

TEST_CASE("vector_ops: relu keeps what is above 0, and NaN", "[vector_ops][any_isa]") {
  for (Isa isa : AvailableIsas()) {
    for (size_t n : NastySizes()) {
      Rng rng(n);
      Floats x = NormalFloats(n, 1, rng);
      x[n / 2] = kNan;
      GuardedArray<float> found(x);
      OpsFor(isa).relu(found.data(), n);
      for (float& value : x) value = value < 0 ? 0 : value;
      CHECK(SameBits(found.Values(), x));
    }
  }
}

TEST_CASE("vector_ops: soft_cap against double", "[vector_ops][any_isa]") {
  Rng rng(5);
  std::vector<Floats> inputs = {Gates()};
  for (size_t n : NastySizes()) inputs.push_back(NormalFloats(n, 30, rng));
  for (const Floats& x : inputs) {
    for (const auto& [factor, cap] : {std::pair<float, float>{0.02f, 50.0f}, {1.0f, 1.0f}}) {
      GuardedArray<float> scalar(x);
      kScalarOps.soft_cap(scalar.data(), factor, cap, x.size());
      for (Isa isa : AvailableIsas()) {
        GuardedArray<float> found(x);
        OpsFor(isa).soft_cap(found.data(), factor, cap, x.size());
        CHECK(SameBits(found.Values(), scalar.Values()));
      }
      for (size_t i = 0; i < x.size(); ++i) {
        const double argument = static_cast<double>(x[i] * factor);
        const double expected = static_cast<double>(cap) * std::tanh(argument);
        const double error = std::fabs(static_cast<double>(scalar.data()[i]) - expected);
        if (!(error <= 5 * 0x1p-24 * std::fabs(expected)))
          FAIL("tanh " << argument << ": " << scalar.data()[i] << ", expected " << expected);
      }
    }
    GuardedArray<float> none(Floats{kNan});
    kScalarOps.soft_cap(none.data(), 1, 1, 1);
    CHECK(std::isnan(none.data()[0]));
  }
}

Floats RunLayerNorm(const VectorOps& ops, const Floats& x, const Floats& gain, const Floats& bias,
                    float eps) {
  GuardedArray<float> in(x), gains(gain), biases(bias), out(x.size());
  ops.layer_norm(in.data(), gains.data(), biases.data(), eps, out.data(), x.size());
  ops.layer_norm(in.data(), gains.data(), biases.data(), eps, in.data(), x.size());
  CHECK(SameBits(in.Values(), out.Values()));  // in place
  return out.Values();
}

TEST_CASE("vector_ops: layer_norm against double", "[vector_ops][any_isa]") {
  Rng rng(6);
  for (size_t n : NastySizes()) {
    Floats x = NormalFloats(n, 2, rng);
    for (float& value : x) value += 3;
    const Floats gain = NormalFloats(n, 1, rng), bias = NormalFloats(n, 1, rng);
    double mean = 0, squares = 0;
    for (const float value : x) mean += static_cast<double>(value) / static_cast<double>(n);
    for (const float value : x) squares += std::pow(static_cast<double>(value) - mean, 2);
    const double root = std::sqrt(squares / static_cast<double>(n) + 1e-5);
    const Floats scalar = RunLayerNorm(kScalarOps, x, gain, bias, 1e-5f);
    for (Isa isa : AvailableIsas())
      CHECK(SameBits(RunLayerNorm(OpsFor(isa), x, gain, bias, 1e-5f), scalar));
    for (size_t i = 0; i < n; ++i) {
      const double expected =
          (static_cast<double>(x[i]) - mean) / root * static_cast<double>(gain[i]) +
          static_cast<double>(bias[i]);
      // Of one element alone the variance is what rounding leaves of it.
      if (n > 1 && !(std::fabs(static_cast<double>(scalar[i]) - expected) <= 2e-5))
        FAIL(n << " elements, " << i << ": " << scalar[i] << ", expected " << expected);
    }
    CHECK(RunLayerNorm(kScalarOps, Floats(n, 7.0f), gain, bias, 1e-5f) == bias);
  }
}

struct Numerators {
  Floats values;
  float sum;
};

Numerators RunSoftmax(const VectorOps& ops, const Floats& x, float scale) {
  GuardedArray<float> array(x);
  const float sum = ops.softmax_numerators(array.data(), scale, x.size());
  return {array.Values(), sum};
}

void CheckSoftmax(const Floats& x, float scale) {
  const Numerators scalar = RunSoftmax(kScalarOps, x, scale);
  const double largest = static_cast<double>(*std::max_element(x.begin(), x.end()));
  for (Isa isa : AvailableIsas()) {
    const Numerators found = RunSoftmax(OpsFor(isa), x, scale);
    INFO(IsaName(isa) << ", " << x.size() << " elements, scale " << scale);
    CHECK(SameBits(found.values, scalar.values));
    CHECK(SameBits({&found.sum, 1}, {&scalar.sum, 1}));
    CHECK(found.sum == SumInLanes(found.values));
    for (size_t i = 0; i < x.size(); ++i) {
      const double exponent = (static_cast<double>(x[i]) - largest) * static_cast<double>(scale);
      const double expected = std::exp(exponent);
      // The exponential's 2 ulp, and two roundings of its argument; below -87 the result is 0.
      const double bound = expected * (0x1p-22 + 0x1p-23 * std::fabs(exponent)) + 1.7e-38;
      if (!(std::fabs(static_cast<double>(found.values[i]) - expected) <= bound)) {
        FAIL("exp(" << exponent << ") = " << found.values[i] << ", expected " << expected);
      }
    }
  }
}

TEST_CASE("vector_ops: softmax_numerators against double", "[vector_ops][any_isa]") {
  Rng rng(4);
  for (size_t n : NastySizes()) {
    CheckSoftmax(NormalFloats(n, 5, rng), 0.125f);
    CheckSoftmax(NormalFloats(n, 50, rng), 1.0f);  // a spread of 200 and more
    CheckSoftmax(Floats(n, -7.25f), 0.3f);
  }
}

TEST_CASE("vector_ops: equal scores have equal numerators of exactly 1", "[vector_ops][any_isa]") {
  for (Isa isa : AvailableIsas()) {
    for (size_t n : {1, 5, 16, 37}) {
      const Numerators found = RunSoftmax(OpsFor(isa), Floats(n, 123.5f), 0.7f);
      CHECK(found.values == Floats(n, 1.0f));
      CHECK(found.sum == static_cast<float>(n));
    }
  }
}

TEST_CASE("vector_ops: minus infinity has no weight", "[vector_ops][any_isa]") {
  for (Isa isa : AvailableIsas()) {
    const Numerators found = RunSoftmax(OpsFor(isa), {-kInfinity, 2.0f, -kInfinity, 2.0f}, 1.0f);
    CHECK(found.values == Floats{0, 1, 0, 1});
    CHECK(found.sum == 2.0f);
  }
}

TEST_CASE("vector_ops: the exponential is within 2 ulp down to exp(-87), then 0",
          "[vector_ops][any_isa]") {
  constexpr size_t kPoints = 200000;
  Floats x(kPoints + 1);  // x[0] = 0 is the largest, so that each numerator is exp(x[i])
  for (size_t i = 1; i <= kPoints; ++i) {
    x[i] = static_cast<float>(-87.0 * static_cast<double>(i) / kPoints);
  }
  for (Isa isa : AvailableIsas()) {
    const Floats found = RunSoftmax(OpsFor(isa), x, 1.0f).values;
    for (size_t i = 0; i < x.size(); ++i) {
      const double expected = std::exp(static_cast<double>(x[i]));
      const double ulp = std::exp2(std::floor(std::log2(expected)) - 23);
      if (!(std::fabs(static_cast<double>(found[i]) - expected) <= 2 * ulp)) {
        FAIL(IsaName(isa) << ": exp(" << x[i] << ") = " << found[i] << ", expected " << expected);
      }
    }
    const float below = std::nextafter(-87.0f, -kInfinity);
    CHECK(RunSoftmax(OpsFor(isa), {0.0f, below, -1e30f}, 1.0f).values == Floats{1, 0, 0});
  }
}

TEST_CASE("vector_ops: a NaN anywhere shows in norms, gates and numerators",
          "[vector_ops][any_isa]") {
  for (Isa isa : AvailableIsas()) {
    const VectorOps& ops = OpsFor(isa);
    for (size_t n : {1, 7, 16, 21, 40}) {
      for (size_t at = 0; at < n; ++at) {
        Floats x(n, 0.5f);
        x[at] = kNan;
        const Floats ones(n, 1.0f);
        const Numerators numerators = RunSoftmax(ops, x, 1.0f);
        const bool shows = std::isnan(numerators.sum) && std::isnan(numerators.values[at]) &&
                           std::isnan(RunSilu(ops, x, ones)[at]) &&
                           std::isnan(RunSilu(ops, ones, x)[at]) &&
                           std::isnan(RunRmsNorm(ops, x, ones, 1e-5f)[n - 1 - at]);
        if (!shows) FAIL(IsaName(isa) << ", NaN at " << at << " of " << n);
      }
    }
  }
}

}  // namespace
}  // namespace quantref
