#include "eval/run/weight_distance.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstddef>

#include "harness/base/rng.h"
#include "harness/testing/random.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

constexpr size_t kRows = 48, kCols = 128;

Matrix<float> Normal(uint64_t seed) { return testing::NormalMatrix(kRows, kCols, seed); }

// With f(value, row, column) of each weight.
template <typename F>
Weight Changed(const Matrix<float>& from, const F& f) {
  Matrix<float> values(from.rows(), from.cols());
  for (size_t r = 0; r < from.rows(); ++r) {
    for (size_t c = 0; c < from.cols(); ++c) values(r, c) = f(from(r, c), r, c);
  }
  return Weight(std::move(values));
}

float ToStep(float value, float step, float least, float most) {
  return step * std::clamp(std::round(value / step), least, most);
}

Nearness Judged(const Weight& own, const Matrix<float>& reference, double step = HUGE_VAL) {
  const SquaresOf sums =
      SquaresBetween(own, Changed(reference, [](float x, size_t, size_t) { return x; }), kRows);
  return JudgeNearness(sums, step * step * static_cast<double>(kRows * kCols));
}

TEST_CASE("weight distance: sums are those of the first rows") {
  const Matrix<float> x = Normal(1);
  const Weight reference = Changed(x, [](float v, size_t, size_t) { return v; });
  const Weight own = Changed(x, [](float v, size_t r, size_t) { return r < 3 ? -v : 0; });
  const SquaresOf sums = SquaresBetween(own, reference, 3);
  CHECK(sums.Relative() == Approx(4));
  CHECK(sums.Correlation() == Approx(-1));
  CHECK(SquaresBetween(reference, reference, kRows).differences == 0);
}

TEST_CASE("weight distance: a rounding to 2 bits is none of another matrix, however far it is") {
  const Matrix<float> x = Normal(2), errors = Normal(3);
  // As GPTQ leaves it: each weight has taken on errors of others before it is rounded.
  const float step = 2.6f;
  const Weight coarse = Changed(
      x, [&](float v, size_t r, size_t c) { return ToStep(v + errors(r, c), step, -1, 1); });
  CHECK(Judged(coarse, x, step) == Nearness::kCoarse);
  CHECK(Judged(Changed(x, [&](float v, size_t, size_t) { return ToStep(v, 0.5f, -8, 7); }), x,
               0.5) == Nearness::kRounded);
  // Scales that are another matrix's make it longer, whatever is known of its steps.
  CHECK(Judged(Changed(x, [&](float v, size_t, size_t) { return 3 * ToStep(v, 0.5f, -8, 7); }),
               x) == Nearness::kScaled);
  // So far with steps of 4 bits it is wrong.
  CHECK(Judged(coarse, x, 0.5) == Nearness::kFar);
  for (const uint64_t seed : {4u, 5u, 6u}) {
    CHECK(Judged(Changed(Normal(seed), [](float v, size_t, size_t) { return v; }), x, step) ==
          Nearness::kUnrelated);
  }
  CHECK(Judged(Changed(x, [](float v, size_t, size_t) { return -v; }), x) == Nearness::kUnrelated);
  // Its columns in another order, too.
  CHECK(Judged(Changed(x, [&](float, size_t r, size_t c) { return x(r, (c + 1) % kCols); }), x) ==
        Nearness::kUnrelated);
}

TEST_CASE("weight distance: factors of inputs leave what was rounded to be seen") {
  const Matrix<float> x = Normal(7);
  const auto factor = [](size_t c) { return 0.25f + 0.1f * static_cast<float>(c % 30); };
  const float step = 0.3f;
  const auto off_by = [&](float zeros) {
    return Changed(x, [&, zeros](float v, size_t, size_t c) {
      return step * (std::round(factor(c) * v / step) + zeros);
    });
  };
  const Weight reference = Changed(x, [](float v, size_t, size_t) { return v; });
  const SquaresOf right = SquaresUpToInputs(off_by(0), reference, kRows),
                  wrong = SquaresUpToInputs(off_by(1), reference, kRows);
  const double squares = static_cast<double>(kRows * kCols) * step * step;
  CHECK(right.differences == Approx(squares / 12).epsilon(0.1));
  CHECK(wrong.differences == Approx(squares * 13 / 12).epsilon(0.1));
  CHECK(SquaresBetween(off_by(0), reference, kRows).differences > 2 * wrong.differences);
  // An input of which the reference has nothing takes no factor.
  const Weight nothing = Changed(x, [](float, size_t, size_t) { return 0.0f; });
  CHECK(SquaresUpToInputs(reference, nothing, kRows).differences ==
        Approx(SquaresBetween(reference, nothing, kRows).differences));
}

}  // namespace
}  // namespace quantref
