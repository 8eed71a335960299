#include "harness/model/adapter.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <string>
#include <vector>

#include "harness/model/model_testing.h"
#include "harness/model/ops.h"
#include "harness/quant/grid.h"

namespace quantref {
namespace {

Matrix<float> Times(Matrix<float> matrix, float factor) {
  for (size_t i = 0; i < matrix.rows() * matrix.cols(); ++i) matrix.data()[i] *= factor;
  return matrix;
}

// y = W x + b + scale B (A x) in double.
double Output(const Linear& linear, MatrixView<const float> x, size_t t, size_t o) {
  const Matrix<float> w = linear.weight.Decode();
  double y = linear.bias.empty() ? 0 : linear.bias[o];
  for (size_t i = 0; i < x.cols(); ++i) y += testing::At(w.view(), o, i) * testing::At(x, t, i);
  if (linear.adapter == nullptr) return y;
  const Matrix<float> a = linear.adapter->down.weight.Decode(),
                      b = linear.adapter->up.weight.Decode();
  for (size_t r = 0; r < a.rows(); ++r) {
    double low = 0;
    for (size_t i = 0; i < x.cols(); ++i) low += testing::At(a.view(), r, i) * testing::At(x, t, i);
    y += static_cast<double>(linear.adapter->scale) * testing::At(b.view(), o, r) * low;
  }
  return y;
}

TEST_CASE("adapter: a linear adds scale B (A x), by any team to the same bits") {
  WeightScheme scheme;
  scheme.group = 32;
  const Weight weight(std::make_shared<const PackedMatrix>(
      RoundToNearest(testing::NormalMatrix(70, 96, 1).view(), scheme)));
  Linear linear{.name = "m", .weight = weight.WithKernels(), .bias = std::vector<float>(70, 0.5f)};
  const Matrix<float> a = testing::NormalMatrix(5, 96, 2), b = testing::NormalMatrix(70, 5, 3);
  linear.adapter = MakeAdapter("m", a.view(), b.view(), 0.75f);
  CHECK(linear.adapter->down.name == "m.lora_A");
  CHECK(linear.adapter->rank() == 5);
  CHECK(AdapterBits(linear) == 16 * 5 * (96 + 70) + 32);
  Team team(3);
  LinearScratch alone, together;
  together.team = &team;
  for (const size_t tokens : {size_t{130}, size_t{1}, size_t{9}}) {
    const Matrix<float> x = testing::NormalMatrix(tokens, 96, tokens);
    Matrix<float> y(tokens, 70), z(tokens, 70);
    ApplyLinear(linear, x.view(), y.view(), alone);
    ApplyLinear(linear, x.view(), z.view(), together);
    CHECK(testing::SameBits(y.view(), z.view()));
    for (size_t t = 0; t < tokens; t += 4) {
      for (size_t o = 0; o < 70; o += 23)
        CHECK(testing::At(y.view(), t, o) == Approx(Output(linear, x.view(), t, o)).margin(2e-3));
    }
  }
}

TEST_CASE(
    "adapter: small numbers of B are as exact in FP16 as large ones, and stay what they are") {
  const Matrix<float> a = testing::NormalMatrix(3, 20, 1);
  for (const float size : {1.0f, 1e-7f, 3e5f, 0.0f}) {
    const Matrix<float> b = Times(testing::NormalMatrix(10, 3, 2), size);
    const auto adapter = MakeAdapter("m", a.view(), b.view(), 2);
    const Matrix<float> up = adapter->up.weight.Decode();
    for (size_t o = 0; o < 10; ++o) {
      for (size_t r = 0; r < 3; ++r)
        CHECK(static_cast<double>(adapter->scale * up(o, r)) ==
              Approx(2.0 * static_cast<double>(b(o, r))).epsilon(0x1p-10));
    }
    const auto again =
        MakeAdapter("m", adapter->down.weight.Decode().view(), up.view(), adapter->scale);
    CHECK(again->scale == adapter->scale);
    CHECK(testing::SameBits(again->up.weight.Decode().view(), up.view()));
  }
  const Matrix<float> large = Times(testing::NormalMatrix(3, 20, 1), 1e6f);
  const Matrix<float> ones = Times(testing::NormalMatrix(10, 3, 1), 0);
  CHECK_ERROR(MakeAdapter("m", large.view(), ones.view(), 1), "m.lora_A", "does not fit FP16");
}

}  // namespace
}  // namespace quantref
