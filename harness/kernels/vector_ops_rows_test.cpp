#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "harness/base/rng.h"
#include "harness/kernels/isa.h"
#include "harness/kernels/kernels_testing.h"
#include "harness/kernels/vector_ops.h"

// The operations on rows of a matrix: dot products with each, and mixtures of them.

namespace quantref {
namespace {

using testing::AvailableIsas;
using testing::GuardedArray;
using testing::NastySizes;
using testing::NormalFloats;
using testing::SameBits;

using Floats = std::vector<float>;

// `count` rows of n numbers, `stride` apart, the last of which ends where the memory does. What is
// between the rows is not to be used.
struct Rows {
  Rows(size_t row_count, size_t size, size_t gap, Rng& rng)
      : count(row_count),
        n(size),
        stride(size + gap),
        values(NormalFloats((row_count - 1) * stride + size, 2, rng)) {
    for (size_t i = 0; i < values.size(); ++i) {
      if (i % stride >= n) values[i] = std::numeric_limits<float>::quiet_NaN();
    }
  }
  std::span<const float> row(size_t s) const { return {&values[s * stride], n}; }

  size_t count, n, stride;
  Floats values;
};

// Sixteen sums without fused multiply-add, folded as vector_ops.inc says.
float DefinedDot(std::span<const float> x, std::span<const float> y) {
  float sums[16] = {};
  for (size_t i = 0; i < x.size(); ++i) {
    const float product = x[i] * y[i];
    sums[i % 16] += product;
  }
  for (size_t width = 8; width > 0; width /= 2) {
    for (size_t i = 0; i < width; ++i) sums[i] += sums[i + width];
  }
  return sums[0];
}

void CheckDots(const Rows& rows, const Floats& x) {
  Floats expected(rows.count);
  for (size_t s = 0; s < rows.count; ++s) expected[s] = DefinedDot(x, rows.row(s));
  for (const Isa isa : AvailableIsas()) {
    GuardedArray<float> input(x), matrix(rows.values), out(rows.count);
    OpsFor(isa).dots(input.data(), matrix.data(), rows.stride, rows.count, rows.n, out.data());
    INFO(IsaName(isa) << ", " << rows.count << " rows of " << rows.n);
    CHECK(SameBits(out.Values(), expected));
  }
}

TEST_CASE("vector_ops: dots with rows of every size", "[vector_ops][any_isa]") {
  Rng rng(1);
  for (const size_t n : NastySizes()) {
    for (const size_t gap : {0, 5}) CheckDots(Rows(9, n, gap, rng), NormalFloats(n, 1, rng));
  }
}

TEST_CASE("vector_ops: dots with every number of rows", "[vector_ops][any_isa]") {
  Rng rng(2);
  for (const size_t count : NastySizes()) {
    CheckDots(Rows(count, 20, 3, rng), NormalFloats(20, 1, rng));
  }
}

TEST_CASE("vector_ops: dots are dot products", "[vector_ops][any_isa]") {
  Rng rng(3);
  const Rows rows(50, 100, 0, rng);
  const Floats x = NormalFloats(100, 1, rng);
  for (const Isa isa : AvailableIsas()) {
    Floats out(rows.count);
    OpsFor(isa).dots(x.data(), rows.values.data(), rows.stride, rows.count, rows.n, out.data());
    for (size_t s = 0; s < rows.count; ++s) {
      double sum = 0, magnitude = 0;
      for (size_t i = 0; i < rows.n; ++i) {
        const double product = static_cast<double>(x[i]) * static_cast<double>(rows.row(s)[i]);
        sum += product;
        magnitude += std::fabs(product);
      }
      // A product, 7 sums of a lane and 4 of the fold, each rounded by 2^-24.
      CHECK(std::fabs(static_cast<double>(out[s]) - sum) <= 12 * 0x1p-24 * magnitude);
    }
  }
}

TEST_CASE("vector_ops: mix_rows adds up row after row", "[vector_ops][any_isa]") {
  Rng rng(4);
  for (const size_t n : NastySizes()) {
    for (const size_t count : {1, 2, 7, 30}) {
      const Rows rows(count, n, n % 2 * 3, rng);
      const Floats weights = NormalFloats(count, 1, rng);
      Floats expected(n, 0.0f);
      for (size_t s = 0; s < count; ++s) {
        for (size_t i = 0; i < n; ++i) {
          const float product = weights[s] * rows.row(s)[i];
          expected[i] += product;
        }
      }
      for (const Isa isa : AvailableIsas()) {
        GuardedArray<float> w(weights), matrix(rows.values),
            out(Floats(n, std::numeric_limits<float>::quiet_NaN()));
        OpsFor(isa).mix_rows(w.data(), matrix.data(), rows.stride, count, n, out.data());
        INFO(IsaName(isa) << ", " << count << " rows of " << n);
        CHECK(SameBits(out.Values(), expected));
      }
    }
  }
}

TEST_CASE("vector_ops: no rows", "[vector_ops][any_isa]") {
  for (const Isa isa : AvailableIsas()) {
    const Floats x(20, 1.0f);
    GuardedArray<float> nothing(0);
    OpsFor(isa).dots(x.data(), nothing.data(), 20, 0, 20, nothing.data());
    Floats out(20, 5.0f);
    OpsFor(isa).mix_rows(nothing.data(), nothing.data(), 20, 0, 20, out.data());
    CHECK(out == Floats(20, 0.0f));
  }
}

}  // namespace
}  // namespace quantref
