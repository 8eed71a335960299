#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "harness/base/rng.h"
#include "harness/method/kept_model.h"
#include "harness/method/quantize_model.h"
#include "harness/model/model_testing.h"
#include "harness/model/plan_model.h"
#include "harness/quant/quant_testing.h"
#include "harness/testing/random.h"
#include "harness/testing/testing.h"
#include "harness/testing/tiny_model.h"
#include "quantizers/awq.h"
#include "quantizers/gptq.h"
#include "quantizers/registry.h"
#include "quantizers/statistics_testing.h"

// Rows whose last group is shorter than the others, through every method.

namespace quantref {
namespace {

using testing::DoubleGrid;
using testing::RelativeChange;

// The inverse, by Gauss and Jordan, of a positive definite matrix.
Matrix<double> InverseOf(const Matrix<double>& matrix) {
  const size_t n = matrix.rows();
  Matrix<double> left(n, n), inverse(n, n);
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < n; ++j) {
      left(i, j) = matrix(i, j);
      inverse(i, j) = i == j;
    }
  }
  for (size_t p = 0; p < n; ++p) {
    double *from_left = left.row(p), *from_inverse = inverse.row(p);
    const double pivot = from_left[p];
    for (size_t j = 0; j < n; ++j) from_left[j] /= pivot, from_inverse[j] /= pivot;
    for (size_t i = 0; i < n; ++i) {
      double *to_left = left.row(i), *to_inverse = inverse.row(i);
      const double factor = to_left[p];
      if (i == p || factor == 0) continue;
      for (size_t j = 0; j < n; ++j) {
        to_left[j] -= factor * from_left[j];
        to_inverse[j] -= factor * from_inverse[j];
      }
    }
  }
  return inverse;
}

// GPTQ as sections 3.2 and 3.3 of the paper say it, in double: column after column, every later one
// updated at once, and the inverse of H itself without the column that is done.
class GptqInDouble {
 public:
  GptqInDouble(const Matrix<double>& gram, bool act_order, bool static_groups,
               const WeightScheme& scheme)
      : static_groups_(static_groups || gram.rows() <= scheme.group),  // one group has no order
        scheme_(scheme),
        order_(gram.rows()) {
    std::iota(order_.begin(), order_.end(), size_t{0});
    if (act_order) {
      std::stable_sort(order_.begin(), order_.end(),
                       [&](size_t a, size_t b) { return gram(a, a) > gram(b, b); });
    }
    double mean = 0;
    for (size_t i = 0; i < gram.rows(); ++i) mean += gram(i, i) / static_cast<double>(gram.rows());
    Matrix<double> hessian(gram.rows(), gram.rows());
    for (size_t i = 0; i < order_.size(); ++i) {
      for (size_t j = 0; j < order_.size(); ++j)
        hessian(i, j) = gram(order_[i], order_[j]) + (i == j ? 0.01 * mean : 0);
    }
    inverse_ = InverseOf(hessian);
  }

  // The codes: by position where groups are made on the way, else by column.
  Matrix<int> Round(MatrixView<const float> weights) const {
    const size_t n = weights.cols(), group = scheme_.group;
    Matrix<double> w(weights.rows(), n), inverse(n, n);
    for (size_t r = 0; r < weights.rows(); ++r) {
      for (size_t p = 0; p < n; ++p) w(r, p) = static_cast<double>(weights(r, order_[p]));
    }
    std::copy_n(inverse_.data(), n * n, inverse.data());
    Matrix<int> codes(weights.rows(), n);
    std::vector<DoubleGrid> grids(weights.rows());
    for (size_t p = 0; p < n; ++p) {
      for (size_t r = 0; r < weights.rows(); ++r) {
        if (static_groups_) {
          const size_t first = order_[p] / group * group, size = std::min(group, n - first);
          grids[r] = DoubleGrid(weights.row_span(r).subspan(first, size), scheme_);
        } else if (p % group == 0) {
          grids[r] = DoubleGrid(w.view().row_span(r).subspan(p, std::min(group, n - p)), scheme_);
        }
        codes(r, static_groups_ ? order_[p] : p) = static_cast<int>(grids[r].Code(w(r, p)));
        const double error = (w(r, p) - grids[r].Value(w(r, p))) / inverse(p, p);
        for (size_t k = p + 1; k < n; ++k) w(r, k) -= error * inverse(p, k);
      }
      const double* const from = inverse.row(p);
      for (size_t i = p + 1; i < n; ++i) {
        double* const to = inverse.row(i);
        const double factor = to[p] / from[p];
        for (size_t j = p + 1; j < n; ++j) to[j] -= factor * from[j];
      }
    }
    return codes;
  }

 private:
  bool static_groups_;
  WeightScheme scheme_;
  std::vector<size_t> order_;
  Matrix<double> inverse_;
};

struct CodeCount {
  size_t all = 0, equal = 0;
};

// Compares every row's codes; a row may part where FP32 rounds a weight to the other side of a tie.
void CompareGptq(size_t cols, const WeightScheme& scheme, bool act_order, bool static_groups,
                 CodeCount& count) {
  constexpr size_t kRows = 6;
  const Matrix<float> weights = testing::NormalMatrix(kRows, cols, cols);
  InputStatistics inputs;
  inputs.gram = testing::GramOf(testing::CorrelatedInputs(2 * cols + 9, cols, 100 + cols));
  const Matrix<int> expected =
      GptqInDouble(inputs.gram, act_order, static_groups, scheme).Round(weights.view());
  for (const double block : {1.0, 40.0, 128.0}) {
    Knobs knobs(Gptq().knobs());
    knobs.Set("act_order", act_order ? 1 : 0);
    knobs.Set("static_groups", static_groups ? 1 : 0);
    knobs.Set("block", block);
    const PackedMatrix packed = Gptq()
                                    .Round({.name = "w",
                                            .weights = weights.view(),
                                            .scheme = scheme,
                                            .inputs = &inputs,
                                            .knobs = &knobs})
                                    .packed;
    std::vector<uint8_t> codes(cols);
    for (size_t r = 0; r < kRows; ++r) {
      packed.GetCodes(r, codes);
      for (size_t c = 0; c < cols; ++c) count.equal += codes[c] == expected(r, c);
      count.all += cols;
    }
  }
}

TEST_CASE("short groups: gptq is the paper's, in double, for every order and block") {
  CodeCount count;
  for (const auto& [cols, group] : testing::kRaggedSizes) {
    if (cols > 100) continue;
    for (const bool symmetric : {false, true}) {
      for (const bool act_order : {false, true}) {
        for (const bool static_groups : {false, true}) {
          const WeightScheme scheme{.bits = 4, .group = group, .symmetric = symmetric};
          CodeCount own;
          CompareGptq(cols, scheme, act_order, static_groups, own);
          INFO(cols << " columns, " << SchemeName(scheme) << ", act_order " << act_order
                    << ", static " << static_groups << ": " << own.equal << " of " << own.all);
          CHECK(static_cast<double>(own.equal) >= 0.9 * static_cast<double>(own.all));
          count.all += own.all;
          count.equal += own.equal;
        }
      }
    }
  }
  INFO(count.equal << " of " << count.all << " codes equal");
  CHECK(static_cast<double>(count.equal) >= 0.999 * static_cast<double>(count.all));
}

TEST_CASE("short groups: gptq's grids that clip, and limits, end where the row does") {
  const Matrix<float> weights = testing::NormalMatrix(8, 100, 1);
  InputStatistics inputs;
  inputs.gram = testing::GramOf(testing::CorrelatedInputs(250, 100, 2));
  Matrix<float> limits(8, 4);
  for (size_t r = 0; r < 8; ++r) {
    for (size_t s = 0; s < 4; ++s) limits(r, s) = s == 3 ? 0.25f : 10;
  }
  const WeightScheme scheme{.bits = 4, .group = 32, .symmetric = true};
  for (const bool clip : {false, true}) {
    for (const bool static_groups : {false, true}) {
      Knobs knobs(Gptq().knobs());
      knobs.Set("act_order", 0);
      knobs.Set("mse_clip", clip ? 1 : 0);
      knobs.Set("static_groups", static_groups ? 1 : 0);
      const PackedMatrix packed = Gptq()
                                      .Round({.name = "w",
                                              .weights = weights.view(),
                                              .scheme = scheme,
                                              .inputs = &inputs,
                                              .limits = limits.view(),
                                              .knobs = &knobs})
                                      .packed;
      for (size_t r = 0; r < 8; ++r) {
        CHECK(packed.affine(r, 3).scale * 7 <= 0.2501f);
        CHECK(packed.affine(r, 2).scale * 7 > 0.5f);
      }
    }
  }
}

TEST_CASE("short groups: awq's limits are those of each group alone") {
  const Matrix<float> weights = testing::NormalMatrix(70, 100, 3);  // more than one tile
  const Matrix<double> gram = testing::GramOf(testing::CorrelatedInputs(250, 100, 4));
  for (const bool symmetric : {false, true}) {
    const WeightScheme scheme{.bits = 3, .group = 32, .symmetric = symmetric};
    WeightScheme by_row = scheme;
    by_row.granularity = Granularity::kRow;
    const Matrix<float> limits = AwqLimits(weights.view(), scheme, gram.view(), {20, 10}, 2);
    REQUIRE(limits.cols() == 4);
    for (size_t s = 0; s < 4; ++s) {
      const size_t first = 32 * s, size = std::min<size_t>(32, 100 - first);
      const Matrix<float> alone =
          AwqLimits(weights.view().Cols(first, size), by_row,
                    gram.view().Rows(first, size).Cols(first, size), {20, 10}, 1);
      for (size_t r = 0; r < 70; ++r) REQUIRE(limits(r, s) == alone(r, 0));
    }
  }
}

constexpr WeightScheme kScheme{.bits = 8, .group = 32};

// A model whose linears have 40 and 70 inputs, all of it to be rounded in groups of 32.
struct ShortGroups {
  explicit ShortGroups(bool tied) {
    const testing::TempDir dir;
    testing::WriteTinyModel(
        dir.path(), {.hidden = 40, .intermediate = 70, .heads = 5, .kv_heads = 1, .tied = tied});
    config = ReadConfig(dir / "config.json");
    weights = LoadWeights(config, Checkpoint::Open(dir.path()), WeightType::kNative, 1);
    QuantizeSpec spec;
    spec.weights = kScheme;
    spec.keep = {};
    SchemeOverride& up = spec.overrides.emplace_back();  // and a group of one input
    up.match = "*.up_proj";
    up.group = 39;
    plan = PlanModel(spec, config);
    Rng rng(5);
    for (std::vector<uint32_t>& sample : data.samples)
      sample = testing::RandomIds(60, config.vocab, rng);
  }

  QuantizedModel Quantize(const Method& method, size_t threads, Products products) const {
    return QuantizeModel(config, weights, plan, method, &data,
                         {.threads = threads, .products = products});
  }

  Matrix<float> Logits(const ModelWeights& of, Products products) const {
    return testing::LogitsOf(config, of, data.samples[0], products);
  }

  ModelConfig config;
  ModelWeights weights;
  std::vector<PlannedLinear> plan;
  CalibrationData data{.samples = std::vector<std::vector<uint32_t>>(3)};
};

void CheckBits(const ShortGroups& model, const QuantizedModel& quantized) {
  for (const LayerReport& layer : quantized.layers) {
    const auto planned =
        std::find_if(model.plan.begin(), model.plan.end(),
                     [&](const PlannedLinear& linear) { return linear.shape.name == layer.name; });
    REQUIRE(planned != model.plan.end());
    const auto cols = static_cast<double>(planned->shape.cols);
    const double groups = std::ceil(cols / static_cast<double>(layer.scheme.group));
    // The scale of a single weight may be so small that the matrix has an exponent.
    const bool exponent = testing::Contains(layer.note, "scales times 2^");
    const double of_matrix = exponent ? static_cast<double>(kExponentBits) : 0;
    INFO(layer.name);
    CHECK(layer.effective_bits ==
          Approx(8 +
                 (groups * (16 + 8) + of_matrix / static_cast<double>(planned->shape.rows)) / cols)
              .epsilon(1e-12));
  }
}

std::vector<Method> AllMethods() {
  std::vector<Method> methods;
  const std::vector<std::vector<const char*>> transforms = {
      {}, {"awq"}, {"smoothquant"}, {"smoothquant", "awq"}};
  for (const auto& names : transforms) {
    for (const Rounder* rounder : Rounders()) {
      if (!rounder->Supports(kScheme)) continue;
      Method method;
      for (const char* name : names) method.transforms.push_back(FindTransform(name));
      method.rounder = rounder;
      method.knobs.insert_or_assign("awq", testing::FewCandidates());
      methods.push_back(method);
    }
  }
  return methods;
}

TEST_CASE("short groups: every method for integers over a model, on both paths, kept and counted") {
  for (const bool tied : {false, true}) {
    const ShortGroups model(tied);
    const Matrix<float> reference = model.Logits(model.weights, Products::kKernel);
    for (Method method : AllMethods()) {
      for (const bool rounded : {false, true}) {
        if (rounded) method.activations = ActivationScheme{};
        INFO(method.transforms.size() << " transforms, " << method.rounder->name() << ", tied "
                                      << tied << ", activations rounded " << rounded);
        const QuantizedModel packed = model.Quantize(method, 1, Products::kSimulated);
        const QuantizedModel tiled = model.Quantize(method, 3, Products::kKernel);
        CHECK(packed.layers.size() == model.plan.size());
        CHECK(HashQuantized(packed.weights) == HashQuantized(tiled.weights));
        CHECK(DecodedEachCall(tiled.weights).empty());
        CHECK(MeasureBits(packed.weights).model == MeasureBits(tiled.weights).model);
        CheckBits(model, tiled);
        const Matrix<float> logits = model.Logits(tiled.weights, Products::kKernel);
        CHECK(RelativeChange(reference, logits) < (rounded ? 0.2 : 0.05));
        CHECK(RelativeChange(model.Logits(packed.weights, Products::kSimulated), logits) <
              (rounded ? 0.02 : 1e-5));
        std::string bytes;
        REQUIRE(WriteModel(model.weights, model.plan, tiled,
                           [&](std::string_view piece) { bytes += piece; }));
        const auto kept = ReadModel(bytes, model.weights, model.plan, 2);
        REQUIRE(kept);
        CHECK(HashQuantized(kept->weights) == HashQuantized(tiled.weights));
      }
    }
  }
}

}  // namespace
}  // namespace quantref
