#include "harness/kernels/hadamard.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "harness/kernels/hadamard_matrix.h"
#include "harness/kernels/kernels_oracle.h"
#include "harness/kernels/kernels_testing.h"
#include "harness/testing/random.h"

namespace quantref {
namespace {

Matrix<float> CopyOf(const Matrix<float>& from) {
  Matrix<float> to(from.rows(), from.cols());
  std::copy_n(from.data(), from.rows() * from.cols(), to.data());
  return to;
}

double LargestDifference(const Matrix<float>& a, const Matrix<float>& b) {
  double largest = 0;
  for (size_t i = 0; i < a.rows() * a.cols(); ++i) {
    const double difference = static_cast<double>(a.data()[i]) - static_cast<double>(b.data()[i]);
    largest = std::max(largest, std::fabs(difference));
  }
  return largest;
}

TEST_CASE("hadamard: which orders are known", "[any_isa]") {
  for (const size_t power : {1u, 2u, 4u, 64u, 8192u}) CHECK(HadamardCore(power) == 1u);
  for (const size_t core :
       {12u, 20u, 28u, 36u, 44u, 52u, 60u, 68u, 76u, 84u, 92u, 100u, 108u, 140u, 148u, 172u}) {
    CHECK(HadamardCore(core) == core);
    CHECK(HadamardCore(64 * core) == core);
  }
  CHECK(HadamardCore(11008) == 172u);
  CHECK(HadamardCore(13824) == 108u);
  CHECK(HadamardCore(5120) == 20u);
  CHECK(HadamardCore(18944) == 148u);
  // The order of 92 is Williamson's, that of 116 nobody's here, whose double is Paley's: 231 is no
  // prime, 115 neither.
  for (const size_t unknown : {0u, 3u, 6u, 9u, 14u, 116u, 188u, 4u * 509u})
    CHECK_FALSE(HadamardCore(unknown));
}

// CheckHadamard is in the construction.
TEST_CASE("hadamard: every core up to 256, and some beyond, is a Hadamard matrix", "[any_isa]") {
  std::set<size_t> cores;
  for (size_t order = 4; order <= 256; order += 4) {
    if (const auto core = HadamardCore(order)) cores.insert(*core);
  }
  cores.insert({344, 500});
  cores.erase(1);
  CHECK(cores.size() > 25);
  for (const size_t core : cores) CHECK(HadamardCoreMatrix(core).rows() == core);
}

TEST_CASE("hadamard: products are the definition's, on every instruction set, to the same bits",
          "[any_isa]") {
  const std::vector<std::pair<Rotation, size_t>> cases = {
      {{1, 1}, 3},     {{2, 1}, 2},       {{4, 1}, 8},   {{8, 1}, 8},   {{16, 1}, 48},
      {{64, 1}, 128},  {{128, 1}, 128},   {{12, 1}, 12}, {{24, 1}, 48}, {{96, 1}, 96},
      {{172, 1}, 172}, {{1408, 1}, 1408}, {{8, 3}, 24},  {{4, 2}, 16},  {{8, 64}, 512},
      {{12, 8}, 96},   {{20, 5}, 100},    {{28, 1}, 56}, {{2, 16}, 64}, {{576, 1}, 576},
  };
  for (const auto& [rotation, channels] : cases) {
    INFO("order " << rotation.order << ", stride " << rotation.stride << ", " << channels);
    const Matrix<float> x = testing::NormalMatrix(3, channels, channels);
    const Matrix<float> wanted = testing::RotateExactly(rotation, x.view());
    Matrix<float> first;
    for (const Isa isa : testing::AvailableIsas()) {
      Matrix<float> y = CopyOf(x);
      std::vector<float> scratch;
      ApplyRotation(rotation, y.view(), scratch, isa);
      CHECK(LargestDifference(y, wanted) < 2e-5);
      if (first.rows() == 0) first = CopyOf(y);
      CHECK(testing::SameBits(std::span<const float>(first.data(), 3 * channels),
                              std::span<const float>(y.data(), 3 * channels)));
    }
  }
}

TEST_CASE("hadamard: the product keeps every vector's length") {
  Matrix<float> x = testing::NormalMatrix(2, 1408, 1);
  const auto squares = [&] {
    double sum = 0;
    for (size_t c = 0; c < x.cols(); ++c) sum += std::pow(static_cast<double>(x(1, c)), 2);
    return sum;
  };
  const double before = squares();
  std::vector<float> scratch;
  ApplyRotation({1408, 1}, x.view(), scratch);
  CHECK(squares() == Approx(before).epsilon(1e-5));
}

TEST_CASE("hadamard: columns are rotated as rows of the transposed are") {
  for (const Rotation rotation : {Rotation{24, 1}, Rotation{16, 3}, Rotation{8, 1}}) {
    const Matrix<float> x = testing::NormalMatrix(48, 75, 5);
    Matrix<float> by_columns = CopyOf(x), transposed(75, 48);
    for (size_t r = 0; r < 48; ++r) {
      for (size_t c = 0; c < 75; ++c) transposed(c, r) = x(r, c);
    }
    RotateColumns(rotation, by_columns.view(), 2);
    std::vector<float> scratch;
    ApplyRotation(rotation, transposed.view(), scratch);
    double largest = 0;
    for (size_t r = 0; r < 48; ++r) {
      for (size_t c = 0; c < 75; ++c) {
        const float difference = by_columns(r, c) - transposed(c, r);
        largest = std::max(largest, std::fabs(static_cast<double>(difference)));
      }
    }
    CHECK(largest < 1e-5);
  }
}

TEST_CASE("hadamard: operations are counted") {
  CHECK(RotationFlops({0, 1}, 64) == 0);
  CHECK(RotationFlops({64, 1}, 128) == 128 * (6 + 1));     // six levels, and the factor
  CHECK(RotationFlops({96, 1}, 96) == 96 * (3 + 12 + 1));  // 12 (x) 8
}

}  // namespace
}  // namespace quantref
