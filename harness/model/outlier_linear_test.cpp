#include <catch2/catch.hpp>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "harness/base/error.h"
#include "harness/model/has_kernel.h"
#include "harness/model/model_testing.h"
#include "harness/model/ops.h"
#include "harness/model/plan_model.h"
#include "harness/model/synthetic.h"
#include "harness/quant/format.h"
#include "harness/quant/grid.h"

// Linears whose activations are rounded beside outliers (LLM.int8()), as ApplyLinear runs them.

namespace quantref {
namespace {

using testing::At;
using testing::NormalMatrix;
using testing::SameBits;
using OfOutliers = OutlierRule::Weights;

constexpr WeightScheme kRows8{.bits = 8, .granularity = Granularity::kRow, .symmetric = true};
constexpr OfOutliers kBoth[] = {OfOutliers::kFp16, OfOutliers::kInt8};

// Of random FP16 weights, rounded to nearest.
struct MixedLinear {
  MixedLinear(size_t rows, size_t cols, OfOutliers weights, const WeightScheme& scheme = kRows8)
      : original(Weight::RoundedToHalf(NormalMatrix(rows, cols, 1).view(), "w")) {
    packed.name = "w";
    packed.weight =
        Weight(std::make_shared<PackedMatrix>(RoundToNearest(original.Decode().view(), scheme)));
    packed.activations = ActivationFormat{.outliers = OutlierRule{6, weights}};
    if (weights == OfOutliers::kFp16) packed.outlier_weights = OutlierWeights(original, "w");
    tiled = packed;
    tiled.weight = packed.weight.WithKernels();
  }
  Weight original;
  Linear packed, tiled;  // the same, simulated and for the kernels
};

// With some channels that are loud in one of the tokens.
Matrix<float> WithLoudChannels(size_t tokens, size_t cols, size_t every) {
  Matrix<float> x = NormalMatrix(tokens, cols, 2);
  for (size_t c = 0; c < cols; c += every) x(c / every % tokens, c) = c % 2 == 0 ? 40 : -25;
  return x;
}

Matrix<float> Applied(const Linear& linear, MatrixView<const float> x, Team* team = nullptr) {
  LinearScratch scratch;
  scratch.team = team;
  Matrix<float> y(x.rows(), linear.weight.rows());
  ApplyLinear(linear, x, y.view(), scratch);
  return y;
}

double RelativeError(MatrixView<const float> y, MatrixView<const float> expected) {
  double error = 0, size = 0;
  for (size_t t = 0; t < y.rows(); ++t) {
    for (size_t o = 0; o < y.cols(); ++o) {
      error += std::pow(At(y, t, o) - At(expected, t, o), 2);
      size += std::pow(At(expected, t, o), 2);
    }
  }
  return std::sqrt(error / size);
}

TEST_CASE("outliers: ApplyLinear is two products, by the kernels and by decoded weights") {
  for (const OfOutliers weights : kBoth) {
    const MixedLinear linear(70, 192, weights);
    const Matrix<float> original = linear.original.Decode(), codes = linear.packed.weight.Decode();
    for (const size_t tokens : {1, 3, 20, 130}) {
      CAPTURE(tokens, OutlierWeightsName(weights));
      const Matrix<float> x = WithLoudChannels(tokens, 192, 48);  // 4 channels
      // What either product is made of, one channel after the other.
      Matrix<float> expected(tokens, 70);
      for (size_t t = 0; t < tokens; ++t) {
        float absmax = 0;
        for (size_t c = 0; c < 192; ++c) {
          const float size = std::fabs(x(t, c));
          const bool spanned = weights == OfOutliers::kInt8 ? size < 6 : c % 48 != 0;
          if (spanned) absmax = std::max(absmax, size);
        }
        const double scale = static_cast<double>(absmax / 127);
        for (size_t o = 0; o < 70; ++o) {
          double sum = 0;
          for (size_t c = 0; c < 192; ++c) {
            const double w =
                weights == OfOutliers::kFp16 && c % 48 == 0 ? original(o, c) : codes(o, c);
            const double value = x(t, c);
            sum += w * (c % 48 == 0 ? value : scale * std::nearbyint(value / scale));
          }
          expected(t, o) = static_cast<float>(sum);
        }
      }
      CHECK(RelativeError(Applied(linear.tiled, x.view()).view(), expected.view()) < 1e-6);
      CHECK(RelativeError(Applied(linear.packed, x.view()).view(), expected.view()) < 1e-6);
    }
  }
}

TEST_CASE("outliers: without any the product is that of plain codes, bit for bit") {
  const Matrix<float> x = NormalMatrix(9, 96, 3);
  for (const OfOutliers weights : kBoth) {
    MixedLinear linear(40, 96, weights);
    Linear plain = linear.tiled;
    plain.activations = ActivationFormat{};
    plain.outlier_weights = {};
    CHECK(SameBits(Applied(linear.tiled, x.view()), Applied(plain, x.view())));
  }
}

TEST_CASE("outliers: a team has the bits of one thread") {
  for (const OfOutliers weights : kBoth) {
    const MixedLinear linear(300, 192, weights);
    for (const size_t tokens : {1, 33}) {
      const Matrix<float> x = WithLoudChannels(tokens, 192, 5);
      const Matrix<float> alone = Applied(linear.tiled, x.view());
      for (const size_t threads : {2, 3}) {
        Team team(threads);
        CHECK(SameBits(Applied(linear.tiled, x.view(), &team), alone));
      }
    }
  }
}

// The documented difference between a window and its parts: another call has other outliers.
TEST_CASE("outliers: the channels are those of the call") {
  const MixedLinear linear(40, 96, OfOutliers::kInt8);
  const Matrix<float> x = WithLoudChannels(6, 96, 96);  // channel 0, loud in token 0 alone
  const Matrix<float> window = Applied(linear.tiled, x.view());
  CHECK(SameBits(Applied(linear.tiled, x.view()), window));
  const auto row = [](const Matrix<float>& y, size_t t) { return y.view().Rows(t, 1); };
  CHECK(SameBits(row(Applied(linear.tiled, x.view().Rows(0, 1)), 0), row(window, 0)));
  const Matrix<float> alone = Applied(linear.tiled, x.view().Rows(3, 1));
  CHECK_FALSE(SameBits(row(alone, 0), row(window, 3)));  // its channel 0 is rounded
  CHECK(RelativeError(row(alone, 0), row(window, 3)) < 0.02);
}

TEST_CASE("outliers: an activation that is not finite shows in its token") {
  const MixedLinear linear(20, 96, OfOutliers::kFp16);
  for (const float bad : {HUGE_VALF, testing::kNan}) {
    Matrix<float> x = NormalMatrix(3, 96, 4);
    x(1, 5) = bad;
    const Matrix<float> y = Applied(linear.tiled, x.view());
    CHECK(std::isfinite(y(0, 0)));
    CHECK_FALSE(std::isfinite(y(1, 0)));
    CHECK(std::isfinite(y(2, 0)));
  }
}

TEST_CASE("outliers: a head that is quantized is refused") {
  const ModelConfig& tied = FindSyntheticShape("wikilm-28m");
  const ModelConfig& untied = FindSyntheticShape("tiny");
  const ActivationScheme mixed{.outliers = OutlierRule{}};
  QuantizeSpec all;
  all.weights = kRows8;
  const auto check = [&](const ModelConfig& config, const QuantizeSpec& spec,
                         const ActivationScheme& scheme) {
    CheckActivations(PlanModel(spec, config), config, scheme);
  };
  check(tied, all, mixed);  // what is kept by default
  check(untied, all, mixed);
  all.keep = {"lm_head"};
  check(untied, all, mixed);
  all.keep = {};
  check(tied, all, ActivationScheme{});
  CHECK_ERROR(check(untied, all, mixed), "outlier_threshold: ", "lm_head");
  CHECK_ERROR(check(tied, all, mixed), "outlier_threshold", "keep embed_tokens");
}

TEST_CASE("activations: one scale for the window is none for a head, which reads it in parts") {
  const ModelConfig& config = FindSyntheticShape("tiny");
  QuantizeSpec spec;
  spec.weights = kRows8;
  ActivationScheme tensor{.per_token = false};
  const auto check = [&] { CheckActivations(PlanModel(spec, config), config, tensor); };
  CHECK_NOTHROW(check());
  spec.keep = {};
  CHECK_ERROR(check(), "per_token: ", "scales of whole windows", "keep lm_head");
  tensor.dynamic = false;
  CHECK_NOTHROW(check());
}

// No kernel for codebooks leaves channels out.
TEST_CASE("outliers: which products have a kernel is told by weights and activations together") {
  const auto linear = [](const char* format, std::optional<ActivationFormat> activations) {
    const Matrix<float> weights = NormalMatrix(16, 64, 1);
    return Linear{"w",
                  Weight(std::make_shared<PackedMatrix>(
                             RoundToNearest(weights.view(), SchemeOf(*FindFormat(format)))))
                      .WithKernels(),
                  {},
                  activations};
  };
  const ActivationFormat rounded{}, mixed{.outliers = OutlierRule{.weights = OfOutliers::kInt8}};
  for (const char* format : {"int", "mxfp4", "float_zero", "ternary"}) {
    INFO(format);
    CHECK(HasKernel(linear(format, std::nullopt)));
    CHECK(HasKernel(linear(format, mixed)));
  }
  for (const char* format : {"nf4", "nvfp4"}) {
    INFO(format);
    CHECK(HasKernel(linear(format, std::nullopt)));
    CHECK(HasKernel(linear(format, rounded)));
    CHECK_FALSE(HasKernel(linear(format, mixed)));
  }
  CHECK_FALSE(HasKernel(linear("fp8_e4m3", std::nullopt)));
}

TEST_CASE("outliers: the FP16 weights that are kept are counted") {
  const ModelConfig& config = FindSyntheticShape("tiny");
  QuantizeSpec spec;
  spec.weights = kRows8;
  const std::vector<PlannedLinear> plan = PlanModel(spec, config);
  size_t weights = 0;
  for (const PlannedLinear& linear : plan) {
    if (linear.scheme) weights += linear.shape.rows * linear.shape.cols;
  }
  ActivationScheme mixed{.outliers = OutlierRule{}};
  CHECK(OutlierWeightBytes(plan, mixed) == 2 * weights);
  const SyntheticWeights made =
      MakeSynthetic(config, MakeSyntheticFrame(config, 1, 1), plan, mixed, 1, 1);
  const Linear& linear = made.weights.blocks[0].linears[kDown];
  CHECK(linear.outlier_weights.rows() == linear.weight.cols());
  CHECK(linear.outlier_weights.StorageBits() == 16 * linear.weight.rows() * linear.weight.cols());
  mixed.outliers->weights = OfOutliers::kInt8;
  CHECK(OutlierWeightBytes(plan, mixed) == 0);
  CHECK(OutlierWeightBytes(plan, std::nullopt) == 0);
}

}  // namespace
}  // namespace quantref
