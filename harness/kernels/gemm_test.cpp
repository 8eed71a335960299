#include "harness/kernels/gemm.h"

#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <span>
#include <vector>

#include "harness/base/matrix.h"
#include "harness/base/parallel.h"
#include "harness/base/rng.h"
#include "harness/kernels/kernels_oracle.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

using testing::kNan;

// A matrix whose rows are `padding` elements longer than its columns; all elements NaN at first.
class Padded {
 public:
  Padded(size_t rows, size_t cols, size_t padding, size_t offset = 0)
      : storage_(offset + rows * (cols + padding), kNan),
        view_(storage_.data() + offset, rows, cols, cols + padding) {}
  Padded(const Padded&) = delete;
  Padded& operator=(const Padded&) = delete;

  MatrixView<float> view() { return view_; }
  void Randomize(Rng& rng) {
    for (size_t r = 0; r < view_.rows(); ++r) {
      for (float& value : view_.row_span(r)) value = static_cast<float>(rng.Normal());
    }
  }
  bool PaddingIsNaN() const {
    for (size_t r = 0; r < view_.rows(); ++r) {
      for (size_t c = view_.cols(); c < view_.stride(); ++c) {
        if (!std::isnan(view_.data()[r * view_.stride() + c])) return false;
      }
    }
    return true;
  }

 private:
  std::vector<float> storage_;
  MatrixView<float> view_;
};

struct Shape {
  size_t m, n, k;
};

enum class Kind { kTransposed, kAccumulate, kPlain, kSubtract, kFirstTransposed };
constexpr Kind kAllKinds[] = {Kind::kTransposed, Kind::kAccumulate, Kind::kPlain, Kind::kSubtract,
                              Kind::kFirstTransposed};

// Whether c is read, not only written.
bool Adds(Kind kind) { return kind == Kind::kAccumulate || kind == Kind::kSubtract; }
// Whether b is (n, k); else (k, n).
bool SecondTransposed(Kind kind) { return kind == Kind::kTransposed || kind == Kind::kAccumulate; }

// `before` is what c held.
void CheckProduct(Kind kind, MatrixView<const float> a, MatrixView<const float> b,
                  MatrixView<const float> before, MatrixView<const float> c) {
  const size_t k = SecondTransposed(kind) ? b.cols() : b.rows();
  const double sign = kind == Kind::kSubtract ? -1 : 1;
  const testing::ExactProduct exact =
      testing::MultiplyExactly({a, kind == Kind::kFirstTransposed}, {b, SecondTransposed(kind)});
  for (size_t i = 0; i < c.rows(); ++i) {
    for (size_t j = 0; j < c.cols(); ++j) {
      const double held = Adds(kind) ? static_cast<double>(before(i, j)) : 0;
      const double sum = held + sign * exact.value(i, j), found = static_cast<double>(c(i, j));
      // Any order of k multiplications and additions stays within this (Higham 2002, eq. 3.7).
      const double bound =
          static_cast<double>(k + 2) * 0x1p-24 * (std::fabs(held) + exact.magnitude(i, j));
      if (!(std::fabs(found - sum) <= bound))
        FAIL("(" << i << ", " << j << "): " << found << ", expected " << sum);
    }
  }
}

void Run(Kind kind, MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c) {
  if (kind == Kind::kPlain) return Multiply(a, b, c);
  if (kind == Kind::kSubtract) return SubtractProduct(a, b, c);
  if (kind == Kind::kFirstTransposed) return MultiplyFirstTransposed(a, b, c);
  MultiplyTransposed(a, b, c, kind == Kind::kAccumulate);
}

void CheckShape(Kind kind, Shape shape, std::array<size_t, 3> padding, Rng& rng) {
  const auto [m, n, k] = shape;
  INFO("m " << m << ", n " << n << ", k " << k << ", kind " << static_cast<int>(kind));
  const bool first = kind == Kind::kFirstTransposed, second = SecondTransposed(kind);
  Padded a(first ? k : m, first ? m : k, padding[0]);
  Padded b(second ? n : k, second ? k : n, padding[1]);
  Padded c(m, n, padding[2]), before(m, n, 0);
  a.Randomize(rng);
  b.Randomize(rng);
  if (Adds(kind)) {
    before.Randomize(rng);
    for (size_t i = 0; i < m; ++i) {
      std::memcpy(c.view().row(i), before.view().row(i), n * sizeof(float));
    }
  }  // else c stays NaN: what it held must not count
  Run(kind, a.view(), b.view(), c.view());
  CheckProduct(kind, a.view(), b.view(), before.view(), c.view());
  CHECK(c.PaddingIsNaN());
}

TEST_CASE("gemm: all kinds against a triple loop, small shapes and strides", "[gemm]") {
  Rng rng(1);
  for (Kind kind : kAllKinds) {
    for (size_t m : {1, 2, 3, 7, 8, 9, 17}) {
      for (size_t n : {1, 2, 5, 8, 15, 16, 17, 33}) {
        for (size_t k : {1, 2, 3, 8, 16, 31, 32, 33}) {
          CheckShape(kind, {m, n, k}, {0, 0, 0}, rng);
          CheckShape(kind, {m, n, k}, {1, 3, 5}, rng);
        }
      }
    }
  }
}

TEST_CASE("gemm: all kinds against a triple loop, large shapes", "[gemm]") {
  Rng rng(2);
  for (Kind kind : kAllKinds) {
    for (Shape shape : {Shape{1, 257, 513}, Shape{65, 129, 127}, Shape{128, 64, 256},
                        Shape{129, 1, 300}, Shape{31, 33, 1025}}) {
      CheckShape(kind, shape, {0, 0, 0}, rng);
      CheckShape(kind, shape, {7, 2, 16}, rng);
    }
  }
}

TEST_CASE("gemm: small whole numbers multiply exactly", "[gemm]") {
  // (1 2; 3 4) times (5 6; 7 8), times its transpose, and its transpose times that.
  std::vector<float> a = {1, 2, 3, 4}, b = {5, 6, 7, 8}, c(4);
  const MatrixView<float> result(c.data(), 2, 2);
  Multiply(MatrixView<float>(a.data(), 2, 2), MatrixView<float>(b.data(), 2, 2), result);
  CHECK(c == std::vector<float>{19, 22, 43, 50});
  MultiplyTransposed(MatrixView<float>(a.data(), 2, 2), MatrixView<float>(b.data(), 2, 2), result);
  CHECK(c == std::vector<float>{17, 23, 39, 53});
  MultiplyTransposed(MatrixView<float>(a.data(), 2, 2), MatrixView<float>(b.data(), 2, 2), result,
                     true);
  CHECK(c == std::vector<float>{34, 46, 78, 106});
  MultiplyFirstTransposed(MatrixView<float>(a.data(), 2, 2), MatrixView<float>(b.data(), 2, 2),
                          result);
  CHECK(c == std::vector<float>{26, 30, 38, 44});
  SubtractProduct(MatrixView<float>(a.data(), 2, 2), MatrixView<float>(b.data(), 2, 2), result);
  CHECK(c == std::vector<float>{7, 8, -5, -6});
}

// The bits of a (33, 129) x (65, 129)^T product of fixed numbers.
std::vector<float> FixedProduct(size_t padding, size_t offset) {
  Rng rng(3);
  Padded a(33, 129, padding, offset), b(65, 129, padding, offset), c(33, 65, padding, offset);
  a.Randomize(rng);
  b.Randomize(rng);
  MultiplyTransposed(a.view(), b.view(), c.view());
  std::vector<float> bits;
  for (size_t r = 0; r < 33; ++r) {
    const std::span<float> row = c.view().row_span(r);
    bits.insert(bits.end(), row.begin(), row.end());
  }
  return bits;
}

TEST_CASE("gemm: the bits depend on the shape, not on where the matrices lie", "[gemm]") {
  const std::vector<float> expected = FixedProduct(0, 0);
  for (size_t offset : {1, 2, 3, 5, 8, 15}) CHECK(FixedProduct(0, offset) == expected);
  for (size_t padding : {1, 7, 64}) CHECK(FixedProduct(padding, padding) == expected);
}

TEST_CASE("gemm: products on several threads at once have the same bits", "[gemm]") {
  const std::vector<float> expected = FixedProduct(0, 0);
  std::vector<std::vector<float>> found(40);
  ParallelFor(found.size(), 4, [&](size_t i, size_t) { found[i] = FixedProduct(0, i % 4); });
  for (const std::vector<float>& product : found) CHECK(product == expected);
}

TEST_CASE("gemm: the library names itself and the core it runs on", "[gemm]") {
  CHECK_THAT(BlasVersion(), Catch::Matches("OpenBLAS [0-9]+\\.[0-9]+\\.[0-9]+.*"));
  CHECK_FALSE(BlasCoreType().empty());
}

}  // namespace
}  // namespace quantref
