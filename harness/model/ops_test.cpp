#include "harness/model/ops.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "harness/kernels/isa.h"
#include "harness/kernels/panel_layout.h"
#include "harness/model/model_testing.h"
#include "harness/quant/format.h"
#include "harness/quant/grid.h"

// Every operation against its definition in double.

namespace quantref {
namespace {

using testing::At;
using testing::kNan;
using testing::NormalMatrix;

Matrix<float> Filled(size_t rows, size_t cols, float value) {
  Matrix<float> matrix(rows, cols);
  std::fill_n(matrix.data(), rows * cols, value);
  return matrix;
}

// A linear whose F32 weights lie in `weights`.
Linear MakeLinear(const Matrix<float>& weights, std::vector<float> bias) {
  const Tensor tensor{"w",
                      DType::kF32,
                      {weights.rows(), weights.cols()},
                      reinterpret_cast<const std::byte*>(weights.data()),
                      weights.rows() * weights.cols() * sizeof(float)};
  return {"w", Weight(tensor), std::move(bias)};
}

// The largest |y - (x W^T + b)| over what FP32 may lose: the sum of the products' magnitudes.
double WorstLinearError(MatrixView<const float> x, const Matrix<float>& weights,
                        const std::vector<float>& bias, MatrixView<const float> y) {
  double worst = 0;
  for (size_t t = 0; t < x.rows(); ++t) {
    for (size_t o = 0; o < weights.rows(); ++o) {
      double sum = bias.empty() ? 0 : static_cast<double>(bias[o]), magnitude = std::fabs(sum);
      const float *row = x.row(t), *weight = weights.row(o);
      for (size_t i = 0; i < weights.cols(); ++i) {
        const double product = static_cast<double>(row[i]) * static_cast<double>(weight[i]);
        sum += product;
        magnitude += std::fabs(product);
      }
      const double error = std::fabs(At(y, t, o) - sum) / magnitude;
      testing::KeepWorst(error, worst);
    }
  }
  return worst;
}

TEST_CASE("ops: ApplyLinear, whatever the number of panels", "[ops]") {
  const struct {
    size_t tokens, in, out;
  } shapes[] = {
      {1, 16, 24},
      {3, 5, 1},
      {7, 64, 64},
      {2, 4096, 512},   // one full panel
      {3, 4096, 1100},  // two, and a part
      {2, 20000, 520},  // the fewest rows a panel may have
      {ThinTokens(), 48, 40},
      {ThinTokens() + 1, 48, 40},
  };
  for (const auto& [tokens, in, out] : shapes) {
    INFO(tokens << " tokens, " << in << " -> " << out);
    const Matrix<float> x = NormalMatrix(tokens, in, 1), weights = NormalMatrix(out, in, 2);
    const Matrix<float> random_bias = NormalMatrix(1, out, 3);
    for (const std::vector<float>& bias :
         {std::vector<float>(), std::vector<float>(random_bias.data(), random_bias.data() + out)}) {
      // y is a part of a wider matrix, and the panel is of some other shape, or none.
      Matrix<float> wide = Filled(tokens, out + 5, -77.0f);
      LinearScratch scratch;
      if (!bias.empty())
        scratch.workers.push_back({.panel = Filled(3, in, kNan), .tiles = {}, .outliers = {}});
      ApplyLinear(MakeLinear(weights, bias), x.view(), wide.view().Cols(2, out), scratch);
      CHECK(WorstLinearError(x.view(), weights, bias, wide.view().Cols(2, out)) < 1e-6);
      bool untouched = true;
      for (size_t t = 0; t < tokens; ++t) {
        for (size_t c : {size_t{0}, size_t{1}, out + 2, out + 4}) {
          untouched &= wide(t, c) == -77.0f;
        }
      }
      CHECK(untouched);
    }
  }
}

// On both sides of MultipliesCodes' rule, for codes of every width and groups that fill no block or
// no row.
TEST_CASE("ops: ApplyLinear with quantized weights, in integers or by decoded panels", "[ops]") {
  for (const int bits : {2, 3, 4, 8}) {
    for (const auto& [tokens, group] : std::initializer_list<std::pair<size_t, size_t>>{
             {1, 40}, {95, 40}, {96, 40}, {97, 40}, {1, 50}, {95, 50}, {96, 50}}) {
      CAPTURE(bits, tokens, group);
      constexpr size_t kIn = 3 * 40, kOut = 37;
      const Matrix<float> weights = NormalMatrix(kOut, kIn, 5), x = NormalMatrix(tokens, kIn, 6);
      const WeightScheme scheme{.bits = bits, .group = group};
      const Weight packed(
          std::make_shared<const PackedMatrix>(RoundToNearest(weights.view(), scheme)));
      const Linear linear{"w", packed.WithKernels(), {}};
      REQUIRE(linear.weight.tiled() != nullptr);
      Matrix<float> y(tokens, kOut);
      LinearScratch scratch;
      ApplyLinear(linear, x.view(), y.view(), scratch);
      CHECK(WorstLinearError(x.view(), packed.Decode(), {}, y.view()) < 1e-6);
    }
  }
  CHECK(MultipliesCodes(std::nullopt, 95));
  CHECK(MultipliesCodes(ActivationFormat{8, true, {}}, 4096));
  CHECK(MultipliesCodes(std::nullopt, 96) == (ActiveIsa() != Isa::kAvx2));
}

// Each format on both sides of its rule. Codebooks round products to 23 bits.
TEST_CASE("ops: ApplyLinear with other formats, by the kernels or by decoded panels", "[ops]") {
  for (const NumberFormat* format : NumberFormats()) {
    const WeightScheme scheme = SchemeOf(*format);
    const bool codebook =
        TiledMatrix::Supports(scheme, 120) && FormOf(scheme) == CodeForm::kCodebook;
    for (const size_t tokens : {1, 15, 16, 47, 48, 95, 96}) {
      CAPTURE(SchemeName(scheme), tokens);
      constexpr size_t kIn = 120, kOut = 37;
      const Matrix<float> weights = NormalMatrix(kOut, kIn, 5), x = NormalMatrix(tokens, kIn, 6);
      const Weight packed(
          std::make_shared<const PackedMatrix>(RoundToNearest(weights.view(), scheme)));
      const Linear linear{"w", packed.WithKernels(), {}};
      CHECK((linear.weight.tiled() != nullptr) == (format->bits() < 8));
      Matrix<float> y(tokens, kOut);
      LinearScratch scratch;
      ApplyLinear(linear, x.view(), y.view(), scratch);
      CHECK(WorstLinearError(x.view(), packed.Decode(), {}, y.view()) < (codebook ? 1e-5 : 1e-6));
    }
  }
  CHECK(MultipliesCodes(ActivationFormat{}, 15, CodeForm::kCodebook));
  CHECK_FALSE(MultipliesCodes(std::nullopt, 48, CodeForm::kCodebook));
  CHECK(MultipliesCodes(std::nullopt, 47, CodeForm::kCodebook) == (ActiveIsa() == Isa::kAvx2));
  CHECK(MultipliesCodes(std::nullopt, 95, CodeForm::kLooked));
  const ActivationFormat with_outliers{.outliers = OutlierRule{}};
  CHECK_FALSE(MultipliesCodes(with_outliers, 1, CodeForm::kCodebook));
}

TEST_CASE("ops: a panel has 512 rows, or as many as its memory holds", "[ops]") {
  CHECK(PanelRows(4096) == 512);
  CHECK(PanelRows(1 << 20) == 512);
  for (size_t in : {1, 7, 100, 512, 1408}) {
    CHECK(PanelRows(in) % 64 == 0);
    CHECK(PanelRows(in) * in <= 1 << 20);
    CHECK((PanelRows(in) + 64) * in > 1 << 20);
  }
}

TEST_CASE("ops: ApplyLinear on a team has the bits of one thread", "[ops]") {
  // Several panels, pieces of them with odd remainders, products too small to be cut, few tokens.
  const struct {
    size_t tokens, in, out;
  } shapes[] = {{300, 512, 2100}, {512, 300, 1000}, {33, 512, 1408}, {260, 2000, 1100},
                {128, 128, 769},  {20, 64, 3000},   {17, 1024, 515}, {16, 1023, 2049},
                {15, 512, 1000},  {1, 700, 333}};
  for (const auto& [tokens, in, out] : shapes) {
    const Matrix<float> x = NormalMatrix(tokens, in, 1), weights = NormalMatrix(out, in, 2);
    const Linear linear = MakeLinear(weights, {});
    Matrix<float> expected(tokens, out);
    LinearScratch alone;
    ApplyLinear(linear, x.view(), expected.view(), alone);
    for (const size_t threads : {1, 2, 5}) {
      Team team(threads);
      Matrix<float> y = Filled(tokens, out, kNan);
      LinearScratch scratch;
      scratch.team = &team;
      ApplyLinear(linear, x.view(), y.view(), scratch);
      INFO(tokens << " tokens, " << in << " -> " << out << ", " << threads << " threads");
      CHECK(std::equal(y.data(), y.data() + tokens * out, expected.data()));
    }
  }
}

TEST_CASE("ops: one panel serves linears of every size in turn", "[ops]") {
  LinearScratch scratch;
  for (const auto& [in, out] : {std::pair<size_t, size_t>{4096, 600}, {8, 5}, {2000, 700}}) {
    const Matrix<float> x = NormalMatrix(2, in, 4), weights = NormalMatrix(out, in, 5);
    Matrix<float> y(2, out), fresh_y(2, out);
    LinearScratch fresh;
    const Linear linear = MakeLinear(weights, {});
    ApplyLinear(linear, x.view(), y.view(), scratch);
    ApplyLinear(linear, x.view(), fresh_y.view(), fresh);
    CHECK(std::equal(y.data(), y.data() + 2 * out, fresh_y.data()));
    CHECK(WorstLinearError(x.view(), weights, {}, y.view()) < 1e-6);
  }
}

TEST_CASE("ops: RmsNorm", "[ops]") {
  for (const size_t width : {1, 15, 16, 17, 300}) {
    for (const double eps : {1e-6, 0.5}) {
      const Matrix<float> x = NormalMatrix(3, width, 1), gain = NormalMatrix(1, width, 2);
      Matrix<float> y(3, width);
      RmsNorm(x.view(), {gain.data(), width}, eps, y.view());
      INFO(width << " wide, eps " << eps);
      double worst = 0;
      for (size_t t = 0; t < 3; ++t) {
        double squares = 0;
        for (size_t i = 0; i < width; ++i) squares += At(x.view(), t, i) * At(x.view(), t, i);
        const double root = std::sqrt(squares / static_cast<double>(width) + eps);
        for (size_t i = 0; i < width; ++i) {
          const double expected = At(x.view(), t, i) / root * At(gain.view(), 0, i);
          worst = std::max(worst, std::fabs(At(y.view(), t, i) - expected));
        }
      }
      CHECK(worst < 2e-6);
      Matrix<float> in_place = NormalMatrix(3, width, 1);
      RmsNorm(in_place.view(), {gain.data(), width}, eps, in_place.view());
      CHECK(std::equal(y.data(), y.data() + 3 * width, in_place.data()));
    }
  }
}

TEST_CASE("ops: RmsNorm of zeros is zero", "[ops]") {
  Matrix<float> x = Filled(1, 20, 0.0f);
  const std::vector<float> gain(20, 3.0f);
  RmsNorm(x.view(), gain, 1e-6, x.view());
  CHECK(std::all_of(x.data(), x.data() + 20, [](float value) { return value == 0; }));
}

}  // namespace
}  // namespace quantref
