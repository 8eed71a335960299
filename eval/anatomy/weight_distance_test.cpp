#include "eval/anatomy/weight_distance.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstddef>
#include <memory>
#include <numeric>
#include <vector>

#include "harness/base/rng.h"
#include "harness/quant/affine.h"
#include "harness/quant/packed_matrix.h"
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

Weight Same(const Matrix<float>& from) {
  return Changed(from, [](float x, size_t, size_t) { return x; });
}

float ToStep(float value, float step, float least, float most) {
  return step * std::clamp(std::round(value / step), least, most);
}

Rounding Steps(int bits, double step) {
  return {bits, step * step * static_cast<double>(kRows * kCols), true};
}

Nearness Judged(const Weight& own, const Matrix<float>& reference, const Rounding& rounding) {
  return JudgeNearness(SquaresBetween(own, Same(reference), kRows), rounding);
}

TEST_CASE("weight distance: sums are those of the first rows") {
  const Matrix<float> x = Normal(1);
  const Weight reference = Same(x);
  const Weight own = Changed(x, [](float v, size_t r, size_t) { return r < 3 ? -v : 0; });
  const SquaresOf sums = SquaresBetween(own, reference, 3);
  CHECK(sums.Relative() == Approx(4));
  CHECK(sums.Correlation() == Approx(-1));
  CHECK(sums.zeroed == 0);
  CHECK(SquaresBetween(own, reference, kRows).zeroed ==
        Approx(SquaresBetween(reference, reference, kRows).own - sums.reference));
  CHECK(SquaresBetween(reference, reference, kRows).differences == 0);
}

TEST_CASE("weight distance: a rounding to 2 bits is none of another matrix, however far it is") {
  const Matrix<float> x = Normal(2), errors = Normal(3);
  // As GPTQ leaves it: each weight has taken on errors of others before it is rounded.
  const float step = 2.6f;
  const Weight coarse = Changed(
      x, [&](float v, size_t r, size_t c) { return ToStep(v + errors(r, c), step, -1, 1); });
  CHECK(Judged(coarse, x, Steps(2, step)) == Nearness::kCoarse);
  CHECK(Judged(Changed(x, [&](float v, size_t, size_t) { return ToStep(v, 0.5f, -8, 7); }), x,
               Steps(4, 0.5)) == Nearness::kRounded);
  // So far with steps of 4 bits it is wrong.
  CHECK(Judged(coarse, x, Steps(4, 0.5)) == Nearness::kFar);
  for (const uint64_t seed : {4u, 5u, 6u})
    CHECK(Judged(Same(Normal(seed)), x, Steps(2, step)) == Nearness::kUnrelated);
  CHECK(Judged(Changed(x, [](float v, size_t, size_t) { return -v; }), x, {}) ==
        Nearness::kUnrelated);
  // Its columns in another order, too, and none of it.
  CHECK(Judged(Changed(x, [&](float, size_t r, size_t c) { return x(r, (c + 1) % kCols); }), x,
               {}) == Nearness::kUnrelated);
  const Weight nothing = Changed(x, [](float, size_t, size_t) { return 0.0f; });
  CHECK(Judged(nothing, x, Steps(8, 0.02)) == Nearness::kUnrelated);
  CHECK(Judged(nothing, nothing.Decode(), Steps(8, 0.02)) == Nearness::kRounded);
}

TEST_CASE("weight distance: scales that are not theirs make weights longer or shorter") {
  const Matrix<float> x = Normal(8);
  const auto scaled = [&](float factor, int bits, float step) {
    const float most = std::ldexp(1.0f, bits - 1);
    const Weight own = Changed(
        x, [&](float v, size_t, size_t) { return factor * ToStep(v, step, -most, most - 1); });
    // Whatever is known of its steps.
    CHECK(Judged(own, x, {bits}) == Judged(own, x, Steps(bits, factor * step)));
    return Judged(own, x, {bits});
  };
  for (const float factor : {0.1f, 0.5f, 0.7f, 1.4f, 3.0f}) {
    CHECK(scaled(factor, 8, 0.03f) == Nearness::kScaled);
    CHECK(scaled(factor, 4, 0.4f) == Nearness::kScaled);
  }
  for (const float factor : {0.5f, 1.4f}) CHECK(scaled(factor, 2, 1.2f) == Nearness::kScaled);
  CHECK(scaled(1, 8, 0.03f) == Nearness::kRounded);
  CHECK(scaled(1, 2, 1.2f) == Nearness::kRounded);
  // Means of magnitudes are shorter than what they stand for.
  const Weight ternary = Changed(x, [](float v, size_t, size_t) { return ToStep(v, 0.8f, -1, 1); });
  CHECK(Judged(ternary, x, {2}) == Nearness::kRounded);
}

TEST_CASE("weight distance: what is folded between matrices has partners that undo it") {
  const Matrix<float> up = Normal(9), down = testing::NormalMatrix(kRows, kRows, 14);
  const float step = 0.03f;
  const auto rounded = [&](const Matrix<float>& from, auto factor) {
    return Changed(from, [=](float v, size_t r, size_t c) {
      return ToStep(factor(r, c) * v, step, -1000, 1000);
    });
  };
  const auto of = [](size_t i) { return 0.5f + 0.1f * static_cast<float>(i % 17); };
  const auto one = [](size_t, size_t) { return 1.0f; };
  const auto of_output = [&](size_t r, size_t) { return of(r); };
  const auto undone = [&](size_t, size_t c) { return 1 / of(c); };
  std::vector<size_t> outputs(kRows);
  std::iota(outputs.begin(), outputs.end(), size_t{0});
  const Weight reference_up = Same(up), reference_down = Same(down);
  const auto folds = [&](const Weight& own_up, const Weight& own_down) {
    const double square = static_cast<double>(step) * static_cast<double>(step);
    return FoldsBetween(
        {&own_up, &reference_up, {8, square * static_cast<double>(kRows * kCols), true}},
        {&own_down, &reference_down, {8, square * static_cast<double>(kRows * kRows), true}},
        outputs);
  };
  CHECK(folds(rounded(up, of_output), rounded(down, undone)));
  // Each is no rounding by itself.
  CHECK(Judged(rounded(up, of_output), up, Steps(8, step)) != Nearness::kRounded);
  CHECK_FALSE(folds(rounded(up, of_output), rounded(down, one)));
  CHECK_FALSE(folds(rounded(up, one), rounded(down, undone)));
  CHECK_FALSE(
      folds(rounded(up, of_output), rounded(down, [&](size_t, size_t c) { return of(c); })));
  CHECK_FALSE(folds(rounded(up, [](size_t, size_t) { return 1.5f; }), rounded(down, one)));
  CHECK(folds(rounded(up, [](size_t, size_t) { return 1.5f; }),
              rounded(down, [](size_t, size_t) { return 1 / 1.5f; })));
  // Undone but for one factor for all, and but for signs.
  CHECK_FALSE(folds(rounded(up, of_output),
                    rounded(down, [&](size_t, size_t c) { return 1.15f / of(c); })));
  CHECK_FALSE(folds(rounded(up, [&](size_t r, size_t) { return r % 4 == 0 ? -of(r) : of(r); }),
                    rounded(down, undone)));
  CHECK_FALSE(folds(rounded(up, of_output), Same(testing::NormalMatrix(kRows, kRows, 15))));
  CHECK(Judged(rounded(up, [](size_t, size_t) { return 1.5f; }), up, Steps(8, step)) ==
        Nearness::kScaled);
}

TEST_CASE("weight distance: rows in another basis are turned, other rows are not") {
  const Matrix<float> x = Normal(16);
  // A reflection of the columns, which is a rotation of them as good as any.
  const Matrix<float> axis = testing::NormalMatrix(1, kCols, 17);
  double squares = 0;
  for (size_t c = 0; c < kCols; ++c) squares += axis(0, c) * axis(0, c);
  std::vector<float> along(kRows);
  for (size_t r = 0; r < kRows; ++r) {
    double sum = 0;
    for (size_t c = 0; c < kCols; ++c) sum += x(r, c) * axis(0, c);
    along[r] = static_cast<float>(2 * sum / squares);
  }
  const auto turned = [&](float v, size_t r, size_t c) {
    return c == 0 ? x(r, 1) : c == 1 ? -x(r, 0) : v;
  };
  CHECK_FALSE(IsTurned(Same(x), Same(x)));
  CHECK_FALSE(IsTurned(Changed(x, turned), Same(x)));  // too little to matter
  const Weight reversed = Changed(x, [&](float, size_t r, size_t c) {
    return x(r, kCols - 1 - c) - along[r] * axis(0, kCols - 1 - c);
  });
  CHECK(IsTurned(reversed, Same(x)));
  CHECK(IsTurned(Changed(reversed.Decode(),
                         [](float v, size_t, size_t) { return ToStep(v, 0.1f, -100, 100); }),
                 Same(x)));
  CHECK_FALSE(IsTurned(Same(Normal(18)), Same(x)));
  CHECK_FALSE(IsTurned(
      Changed(reversed.Decode(), [](float v, size_t r, size_t) { return r % 2 ? v : 2 * v; }),
      Same(x)));
}

TEST_CASE("weight distance: what was trained on or pruned is near, and what is damaged is not") {
  const Matrix<float> x = Normal(10), other = Normal(11);
  const float step = 0.03f;
  const auto moved = [&](float share) {
    return Changed(x, [&, share](float v, size_t r, size_t c) {
      return ToStep(v + share * other(r, c), step, -128, 127);
    });
  };
  CHECK(Judged(moved(0), x, Steps(8, step)) == Nearness::kRounded);
  CHECK(Judged(moved(0.1f), x, Steps(8, step)) == Nearness::kTuned);
  CHECK(Judged(moved(0.3f), x, Steps(8, step)) == Nearness::kFar);
  const Weight pruned = Changed(x, [&](float v, size_t, size_t) {
    return std::fabs(v) < 0.67f ? 0 : ToStep(v, step, -128, 127);
  });
  CHECK(Judged(pruned, x, Steps(8, step)) == Nearness::kRounded);
  const Weight damaged = Changed(x, [&](float v, size_t r, size_t c) {
    return r % 3 == 0 ? other(r, c) : ToStep(v, step, -128, 127);
  });
  CHECK(Judged(damaged, x, Steps(8, step)) == Nearness::kFar);
}

TEST_CASE("weight distance: steps are the scales, or spread over what a group holds") {
  const Weight plain = Changed(Matrix<float>(2, 8), [](float, size_t r, size_t c) {
    return c != 1 + 5 * r ? 0.0f : r == 0 ? -3.0f : 1.5f;
  });
  CHECK(std::isinf(RoundingOf(plain, {}).squares_of_steps));
  const Rounding spread =
      RoundingOf(plain, BlockScheme{.format = "a", .bits = 2, .group = 4, .symmetric = true});
  CHECK(spread.bits == 2);
  CHECK_FALSE(spread.of_scales);
  CHECK(spread.squares_of_steps == Approx(4 * (4 + 1)));  // steps of 2 * 3 / 3 and 2 * 1.5 / 3

  const WeightScheme scheme{.bits = 4, .granularity = Granularity::kRow};
  auto packed = std::make_shared<PackedMatrix>(2, 8, scheme);
  packed->set_affine(0, 0, {.scale = 0.5f, .zero = 8});
  packed->set_affine(1, 0, {.scale = 2, .zero = 8});
  const Rounding affine = RoundingOf(Weight(std::shared_ptr<const PackedMatrix>(packed)), scheme);
  CHECK(affine.bits == 4);
  CHECK(affine.of_scales);
  CHECK(affine.squares_of_steps == Approx(8 * (0.25 + 4)));
}

TEST_CASE("weight distance: groups of 0 are lost where the reference's are not next to it") {
  const Matrix<float> x = Normal(12);
  const auto first_groups = [&](size_t rows, float factor) {
    return Changed(
        x, [=](float v, size_t r, size_t c) { return r < rows && c < 32 ? factor * v : v; });
  };
  const StoredCodes codes = BlockScheme{.format = "a", .bits = 8, .group = 32};
  CHECK(CountLostGroups(first_groups(5, 0), Same(x), codes) == 5);
  CHECK(CountLostGroups(first_groups(5, 0), first_groups(3, 0), codes) == 2);
  CHECK(CountLostGroups(first_groups(5, 0), first_groups(3, 1e-3f), codes) == 2);
  CHECK(CountLostGroups(first_groups(5, 1e-3f), Same(x), codes) == 0);
  // A group's scale may be 0 where its block's is not.
  const StoredCodes parts = BlockScheme{.format = "a", .bits = 8, .group = 32, .block = 64};
  CHECK(CountLostGroups(first_groups(5, 0), Same(x), parts) == 0);
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
  const Weight reference = Same(x);
  const SquaresOf right = SquaresUpTo(Channels::kInputs, off_by(0), reference, kRows),
                  wrong = SquaresUpTo(Channels::kInputs, off_by(1), reference, kRows);
  const double squares = static_cast<double>(kRows * kCols) * step * step;
  CHECK(right.differences == Approx(squares / 12).epsilon(0.1));
  CHECK(wrong.differences == Approx(squares * 13 / 12).epsilon(0.1));
  CHECK(SquaresBetween(off_by(0), reference, kRows).differences > 2 * wrong.differences);
  CHECK_FALSE(UnrelatedUpToInputs(off_by(0), reference));
  CHECK(UnrelatedUpToInputs(off_by(0), Same(Normal(13))));
  // An input of which the reference has nothing takes no factor.
  const Weight nothing = Changed(x, [](float, size_t, size_t) { return 0.0f; });
  CHECK(UnrelatedUpToInputs(nothing, reference));
  CHECK_FALSE(UnrelatedUpToInputs(nothing, nothing));
  CHECK(SquaresUpTo(Channels::kInputs, reference, nothing, kRows).differences ==
        Approx(SquaresBetween(reference, nothing, kRows).differences));
}

}  // namespace
}  // namespace quantref
