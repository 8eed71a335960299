#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <limits>

#include "harness/base/half.h"
#include "harness/base/rng.h"
#include "harness/kernels/gemm.h"
#include "harness/kernels/isa.h"
#include "harness/kernels/kernels_oracle.h"
#include "harness/testing/testing.h"

// What gemm_test does not reach: products large enough for several panels of AMX's, and operands
// whose numbers need one, two or three BF16 terms. They hold for every instruction set.

namespace quantref {
namespace {

enum class Numbers { kFloats, kHalves, kIntegers };

float Draw(Numbers numbers, Rng& rng) {
  if (numbers == Numbers::kIntegers) return static_cast<float>(rng.Below(511)) - 255;
  const float value = static_cast<float>(rng.Normal());
  return numbers == Numbers::kHalves ? RoundToHalf(value) : value;
}

Matrix<float> Random(size_t rows, size_t cols, Numbers numbers, Rng& rng) {
  Matrix<float> matrix(rows, cols);
  for (size_t i = 0; i < rows * cols; ++i) matrix.data()[i] = Draw(numbers, rng);
  return matrix;
}

// The largest error of c = a b^T as a share of the sum of its terms' magnitudes.
double WorstError(const Matrix<float>& a, const Matrix<float>& b, const Matrix<float>& c) {
  const testing::ExactProduct exact =
      testing::MultiplyExactly({a.view()}, {b.view(), /*transposed=*/true});
  double worst = 0;
  for (size_t i = 0; i < c.rows() * c.cols(); ++i) {
    const double difference = static_cast<double>(c.data()[i]) - exact.value.data()[i];
    testing::KeepWorst(std::fabs(difference) / exact.magnitude.data()[i], worst);
  }
  return worst;
}

TEST_CASE("gemm: FP32 accuracy over several panels, whatever the numbers", "[gemm]") {
  Rng rng(1);
  for (const Numbers numbers : {Numbers::kFloats, Numbers::kHalves, Numbers::kIntegers}) {
    for (const auto& [m, n, k] :
         {std::array<size_t, 3>{40, 300, 600}, {33, 257, 1100}, {64, 256, 512}, {16, 520, 513}}) {
      INFO("m " << m << ", n " << n << ", k " << k << ", numbers " << static_cast<int>(numbers));
      const Matrix<float> a = Random(m, k, Numbers::kFloats, rng), b = Random(n, k, numbers, rng);
      Matrix<float> c(m, n);
      MultiplyTransposed(a.view(), b.view(), c.view());
      CHECK(WorstError(a, b, c) < 2e-7);
    }
  }
}

TEST_CASE("gemm: one number that needs all its bits is not lost among simple ones", "[gemm]") {
  Rng rng(2);
  const Matrix<float> a = Random(32, 64, Numbers::kFloats, rng);
  Matrix<float> b = Random(64, 64, Numbers::kIntegers, rng);
  b(63, 63) = 1.0f + 0x1p-23f;
  for (size_t p = 0; p < 63; ++p) b(63, p) = 0;
  Matrix<float> c(32, 64);
  MultiplyTransposed(a.view(), b.view(), c.view());
  for (size_t i = 0; i < 32; ++i) {
    CHECK(c(i, 63) == Approx(static_cast<double>(a(i, 63)) * (1 + 0x1p-23)).epsilon(1e-7));
  }
}

TEST_CASE("gemm: large, small and special numbers", "[gemm]") {
  constexpr size_t kSize = 32;
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  Rng rng(3);
  for (const float special : {1e30f, 1e-30f, 0x1p-100f, 0.0f, -0.0f}) {
    Matrix<float> a = Random(kSize, kSize, Numbers::kHalves, rng);
    const Matrix<float> b = Random(kSize, kSize, Numbers::kHalves, rng);
    for (size_t p = 0; p < kSize; ++p) a(5, p) = special;
    Matrix<float> c(kSize, kSize);
    MultiplyTransposed(a.view(), b.view(), c.view());
    INFO(special);
    if (special != 0) {
      CHECK(WorstError(a, b, c) < 1e-6);
    } else {
      for (size_t j = 0; j < kSize; ++j) CHECK(c(5, j) == 0);
    }
  }
  for (const float special : {kInfinity, -kInfinity, std::numeric_limits<float>::quiet_NaN()}) {
    Matrix<float> a = Random(kSize, kSize, Numbers::kFloats, rng);
    const Matrix<float> b = Random(kSize, kSize, Numbers::kFloats, rng);
    a(7, 3) = special;
    Matrix<float> c(kSize, kSize);
    MultiplyTransposed(a.view(), b.view(), c.view());
    for (size_t j = 0; j < kSize; ++j) {
      CHECK_FALSE(std::isfinite(c(7, j)));
      CHECK(std::isfinite(c(8, j)));
    }
  }
}

TEST_CASE("gemm: the same product gives the same bits", "[gemm]") {
  Rng rng(4);
  const Matrix<float> a = Random(96, 200, Numbers::kFloats, rng);
  const Matrix<float> b = Random(80, 200, Numbers::kFloats, rng);
  Matrix<float> all(96, 80), again(96, 80);
  MultiplyTransposed(a.view(), b.view(), all.view());
  MultiplyTransposed(a.view(), b.view(), again.view());
  CHECK(std::memcmp(all.data(), again.data(), 96 * 80 * sizeof(float)) == 0);
}

}  // namespace
}  // namespace quantref
