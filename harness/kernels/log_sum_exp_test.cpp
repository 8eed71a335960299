#include <algorithm>
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

// Every perplexity goes through this one function: it is held against long double.

namespace quantref {
namespace {

using testing::AvailableIsas;
using testing::GuardedArray;
using testing::NastySizes;
using testing::NormalFloats;
using testing::SameBits;

using Floats = std::vector<float>;

using testing::kInfinity;

double Run(const VectorOps& ops, const Floats& x, size_t* top = nullptr) {
  GuardedArray<float> array(x);
  return ops.log_sum_exp(array.data(), x.size(), top);
}

long double Reference(const Floats& x) {
  const long double largest = *std::max_element(x.begin(), x.end());
  long double sum = 0;
  for (float v : x) sum += std::exp(static_cast<long double>(v) - largest);
  return largest + std::log(sum);
}

// Within 1e-14 of the larger of the two terms that make up the result.
void CheckAgainstReference(const Floats& x) {
  const long double expected = Reference(x);
  const double largest = static_cast<double>(*std::max_element(x.begin(), x.end()));
  const double bound =
      1e-14 * std::max(std::fabs(largest), std::log(static_cast<double>(x.size())));
  const double scalar = Run(kScalarOps, x);
  for (Isa isa : AvailableIsas()) {
    const double found = Run(OpsFor(isa), x);
    INFO(IsaName(isa) << ", " << x.size() << " elements, largest " << largest);
    CHECK(SameBits(found, scalar));
    CHECK(std::fabs(static_cast<double>(found - expected)) <= bound);
    size_t top = x.size();
    CHECK(SameBits(Run(OpsFor(isa), x, &top), scalar));
    CHECK(top == static_cast<size_t>(std::max_element(x.begin(), x.end()) - x.begin()));
  }
}

TEST_CASE("log_sum_exp: against long double, every size", "[log_sum_exp][any_isa]") {
  Rng rng(1);
  for (size_t n : NastySizes()) {
    for (double deviation : {1e-3, 1.0, 10.0, 100.0, 1000.0}) {
      CheckAgainstReference(NormalFloats(n, deviation, rng));
    }
  }
}

TEST_CASE("log_sum_exp: against long double, whole vocabularies", "[log_sum_exp][any_isa]") {
  Rng rng(2);
  for (size_t n : {32000, 32003}) {
    for (double deviation : {0.0, 1e-3, 3.0, 30.0, 300.0}) {
      Floats x = NormalFloats(n, deviation, rng);
      CheckAgainstReference(x);
      for (float& v : x) v -= 1000;  // far from zero
      CheckAgainstReference(x);
    }
  }
}

TEST_CASE("log_sum_exp: the largest may stand anywhere", "[log_sum_exp][any_isa]") {
  for (size_t n : {1, 8, 16, 17, 41}) {
    for (size_t at = 0; at < n; ++at) {
      Floats x(n, -3.0f);
      x[at] = 5.0f;
      CheckAgainstReference(x);
      x[at] = 1000.0f;  // exp of it would overflow
      CheckAgainstReference(x);
    }
  }
}

TEST_CASE("log_sum_exp: known values", "[log_sum_exp][any_isa]") {
  for (Isa isa : AvailableIsas()) {
    const VectorOps& ops = OpsFor(isa);
    CHECK(Run(ops, {1.25f}) == 1.25);
    CHECK(Run(ops, {-1e30f}) == static_cast<double>(-1e30f));
    CHECK(Run(ops, {0.0f, 0.0f}) == 0x1.62e42fefa39efp-1);  // ln 2
    CHECK(Run(ops, {0.0f, -1000.0f}) == 0);
    CHECK(Run(ops, {7.0f, -kInfinity, -kInfinity}) == 7);  // masked entries
  }
}

TEST_CASE("log_sum_exp: n zeros give the logarithm of n to 2 ulp", "[log_sum_exp][any_isa]") {
  for (Isa isa : AvailableIsas()) {
    CHECK(Run(OpsFor(isa), {0.0f}) == 0);
    for (size_t n = 2; n <= 1000; ++n) {
      const double found = Run(OpsFor(isa), Floats(n, 0.0f));
      const long double expected = std::log(static_cast<long double>(n));
      const double ulp = std::exp2(std::floor(std::log2(static_cast<double>(expected))) - 52);
      const double error = static_cast<double>(std::fabs(found - expected));
      if (!(error <= 2 * ulp)) FAIL(IsaName(isa) << ", n " << n << ": " << error / ulp << " ulp");
    }
  }
}

TEST_CASE("log_sum_exp: one number beside zero adds its exponential", "[log_sum_exp][any_isa]") {
  for (Isa isa : AvailableIsas()) {
    for (int i = 1; i <= 8000; ++i) {
      const float x = -static_cast<float>(i) / 200;  // down to -40
      const double found = Run(OpsFor(isa), {0.0f, x});
      const long double expected = std::log1p(std::exp(static_cast<long double>(x)));
      // Rounding 1 + exp(x), and 2 ulp of exp(x) and of the logarithm, all below 1.
      const double error = static_cast<double>(std::fabs(found - expected));
      if (!(error <= 5e-16)) FAIL(IsaName(isa) << ", " << x << ": " << error);
    }
  }
}

TEST_CASE("log_sum_exp: adding a power of two to all adds it to the result",
          "[log_sum_exp][any_isa]") {
  Rng rng(3);
  Floats x(1000), shifted(1000);
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] = static_cast<float>(rng.Below(64)) / 8;
    shifted[i] = x[i] + 64;  // exact
  }
  for (Isa isa : AvailableIsas()) {
    CHECK(std::fabs(Run(OpsFor(isa), shifted) - Run(OpsFor(isa), x) - 64) < 1e-13);
  }
}

TEST_CASE("log_sum_exp: what is not finite stays so", "[log_sum_exp][any_isa]") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (Isa isa : AvailableIsas()) {
    for (size_t n : {1, 2, 7, 8, 16, 17, 40}) {
      for (float bad : {nan, -nan, kInfinity}) {
        for (size_t at = 0; at < n; ++at) {
          Floats x(n, 0.5f);
          x[at] = bad;
          const double found = Run(OpsFor(isa), x);
          if (!std::isfinite(found)) continue;
          FAIL(IsaName(isa) << ": " << found << " from " << bad << " at " << at << " of " << n);
        }
      }
      INFO(IsaName(isa) << ", " << n << " times minus infinity");
      CHECK_FALSE(std::isfinite(Run(OpsFor(isa), Floats(n, -kInfinity))));
    }
  }
}

// The terms of sum p (a - b) with p = exp(a - log-sum-exp of a).
TEST_CASE("mean_difference: against long double, with probabilities kept or not, every size",
          "[log_sum_exp][any_isa]") {
  Rng rng(4);
  for (const size_t n : NastySizes()) {
    for (const double deviation : {1e-3, 3.0, 100.0}) {
      const Floats a = NormalFloats(n, deviation, rng), b = NormalFloats(n, deviation, rng);
      const double log_sum = Run(kScalarOps, a);
      long double expected = 0, magnitude = 0;
      for (size_t i = 0; i < n; ++i) {
        const long double p = std::exp(static_cast<long double>(a[i]) - log_sum);
        expected += p * (static_cast<long double>(a[i]) - b[i]);
        magnitude += std::fabs(p * (static_cast<long double>(a[i]) - b[i]));
      }
      const double scalar = kScalarOps.mean_difference(a.data(), log_sum, b.data(), n);
      CHECK(std::fabs(static_cast<double>(scalar - expected)) <=
            1e-13 * static_cast<double>(magnitude));
      for (const Isa isa : AvailableIsas()) {
        INFO(IsaName(isa) << ", " << n << " elements, deviation " << deviation);
        const VectorOps& ops = OpsFor(isa);
        GuardedArray<float> x(a), y(b);
        GuardedArray<double> p(n);
        CHECK(SameBits(ops.mean_difference(x.data(), log_sum, y.data(), n), scalar));
        ops.probabilities(x.data(), log_sum, p.data(), n);
        CHECK(SameBits(ops.weighted_difference(p.data(), x.data(), y.data(), n), scalar));
      }
    }
  }
}

}  // namespace
}  // namespace quantref
