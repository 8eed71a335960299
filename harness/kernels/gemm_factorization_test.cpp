#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "harness/base/matrix.h"
#include "harness/base/parallel.h"
#include "harness/base/rng.h"
#include "harness/kernels/gemm.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

using testing::kNan;

constexpr size_t kSizes[] = {1, 2, 3, 5, 8, 17, 31, 64, 65, 130};

// A square matrix of which only the lower triangle is given: what lies above the diagonal, and
// beyond the columns, is NaN, so that reading it shows.
class Lower {
 public:
  explicit Lower(size_t n, size_t padding = 0)
      : storage_(n, n + padding), view_(storage_.data(), n, n, n + padding) {
    std::fill_n(storage_.data(), n * (n + padding), kNan);
  }
  Lower(const Lower&) = delete;
  Lower& operator=(const Lower&) = delete;

  MatrixView<double> view() const { return view_; }
  double& operator()(size_t r, size_t c) const { return view_(r, c); }
  bool RestIsNaN() const {
    for (size_t r = 0; r < view_.rows(); ++r) {
      for (size_t c = r + 1; c < view_.stride(); ++c) {
        if (!std::isnan(view_.data()[r * view_.stride() + c])) return false;
      }
    }
    return true;
  }

 private:
  Matrix<double> storage_;
  MatrixView<double> view_;
};

// A sum with that of its terms' magnitudes.
struct Sum {
  double value = 0, magnitude = 0;
  void Add(double term) {
    value += term;
    magnitude += std::fabs(term);
  }
};

// Rounding errors of n terms summed twice, there and here, with a little to spare.
double Bound(size_t n, double magnitude) {
  return static_cast<double>(4 * n + 8) * 0x1p-53 * magnitude;
}

// G G^T for random G (n, 2 n): positive definite.
void FillDefinite(const Lower& a, uint64_t seed) {
  const size_t n = a.view().rows();
  Rng rng(seed);
  std::vector<double> g(2 * n * n);
  for (double& value : g) value = rng.Normal();
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j <= i; ++j) {
      const double *left = &g[i * 2 * n], *right = &g[j * 2 * n];
      double sum = 0;
      for (size_t p = 0; p < 2 * n; ++p) sum += left[p] * right[p];
      a(i, j) = sum;
    }
  }
}

void CopyLower(const Lower& from, const Lower& to) {
  for (size_t i = 0; i < from.view().rows(); ++i) {
    for (size_t j = 0; j <= i; ++j) to(i, j) = from(i, j);
  }
}

TEST_CASE("gemm: CholeskyLower's factor times its transpose is the matrix", "[gemm]") {
  for (size_t n : kSizes) {
    const Lower a(n);
    FillDefinite(a, n);
    for (size_t padding : {0, 3}) {
      const Lower l(n, padding);
      CopyLower(a, l);
      INFO("n " << n << ", padding " << padding);
      REQUIRE(CholeskyLower(l.view()));
      CHECK(l.RestIsNaN());
      for (size_t i = 0; i < n; ++i) {
        CHECK(l(i, i) > 0);
        for (size_t j = 0; j <= i; ++j) {
          Sum sum;
          for (size_t p = 0; p <= j; ++p) sum.Add(l(i, p) * l(j, p));
          // Higham 2002, theorem 10.3: each element within gamma_(n+1) |L| |L^T|.
          if (!(std::fabs(sum.value - a(i, j)) <= Bound(n, sum.magnitude))) {
            FAIL("(" << i << ", " << j << "): " << sum.value << ", expected " << a(i, j));
          }
        }
      }
    }
  }
}

TEST_CASE("gemm: CholeskyLower refuses what is not positive definite", "[gemm]") {
  for (size_t n : kSizes) {
    const Lower definite(n);
    FillDefinite(definite, n);
    for (size_t padding : {0, 3}) {
      INFO("n " << n << ", padding " << padding);
      for (size_t at : {size_t{0}, n / 2, n - 1}) {
        const Lower a(n, padding);
        CopyLower(definite, a);
        a(at, at) = -a(at, at);
        CHECK_FALSE(CholeskyLower(a.view()));
      }
      const Lower zero(n, padding);
      for (size_t i = 0; i < n; ++i) {
        for (size_t j = 0; j <= i; ++j) zero(i, j) = 0;
      }
      CHECK_FALSE(CholeskyLower(zero.view()));
    }
  }
  const Lower indefinite(2);  // a positive diagonal does not suffice: eigenvalues 3 and -1
  indefinite(0, 0) = indefinite(1, 1) = 1;
  indefinite(1, 0) = 2;
  CHECK_FALSE(CholeskyLower(indefinite.view()));
}

TEST_CASE("gemm: factorizations of small whole numbers are exact", "[gemm]") {
  // (4 2; 2 10) = L L^T, L = (2 0; 1 3); the inverse of (2 0; 1 4) is (1/2 0; -1/8 1/4).
  const Lower a(2);
  a(0, 0) = 4, a(1, 0) = 2, a(1, 1) = 10;
  REQUIRE(CholeskyLower(a.view()));
  CHECK(a(0, 0) == 2);
  CHECK(a(1, 0) == 1);
  CHECK(a(1, 1) == 3);
  const Lower l(2);
  l(0, 0) = 2, l(1, 0) = 1, l(1, 1) = 4;
  InvertLower(l.view());
  CHECK(l(0, 0) == 0.5);
  CHECK(l(1, 0) == -0.125);
  CHECK(l(1, 1) == 0.25);
}

TEST_CASE("gemm: InvertLower's inverse times the matrix is the identity", "[gemm]") {
  Rng rng(7);
  for (size_t n : kSizes) {
    for (size_t padding : {0, 3}) {
      const Lower l(n), inverse(n, padding);
      for (size_t i = 0; i < n; ++i) {
        for (size_t j = 0; j < i; ++j) l(i, j) = rng.Normal() / std::sqrt(static_cast<double>(n));
        l(i, i) = (i % 2 == 0 ? 1 : -1) * (1 + rng.Uniform());  // signs do not matter
      }
      CopyLower(l, inverse);
      INFO("n " << n << ", padding " << padding);
      InvertLower(inverse.view());
      CHECK(inverse.RestIsNaN());
      for (size_t i = 0; i < n; ++i) {
        for (size_t j = 0; j <= i; ++j) {
          Sum sum;
          for (size_t p = j; p <= i; ++p) sum.Add(inverse(i, p) * l(p, j));
          if (!(std::fabs(sum.value - (i == j ? 1 : 0)) <= Bound(n, sum.magnitude))) {
            FAIL("(" << i << ", " << j << "): " << sum.value);
          }
        }
      }
    }
  }
}

// The bits of the lower triangle of the inverse of the matrix's factor.
std::vector<double> FactorOf(const Lower& definite, size_t padding) {
  const size_t n = definite.view().rows();
  const Lower a(n, padding);
  CopyLower(definite, a);
  if (!CholeskyLower(a.view())) return {};  // no CHECK: this runs on several threads
  InvertLower(a.view());
  std::vector<double> values;
  for (size_t i = 0; i < n; ++i) {
    values.insert(values.end(), a.view().row(i), a.view().row(i) + i + 1);
  }
  return values;
}

TEST_CASE("gemm: factorizations on several threads at once have the same bits", "[gemm]") {
  const Lower definite(130);
  FillDefinite(definite, 1);
  const std::vector<double> expected = FactorOf(definite, 0);
  REQUIRE_FALSE(expected.empty());
  std::vector<std::vector<double>> found(20);
  // Beside others of another stride, whose bits may differ (OpenBLAS's oldest kernels).
  ParallelFor(found.size(), 4, [&](size_t i, size_t) { found[i] = FactorOf(definite, i % 2 * 3); });
  for (size_t i = 0; i < found.size(); i += 2) CHECK((found[i] == expected));
}

}  // namespace
}  // namespace quantref
