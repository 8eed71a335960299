#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <map>
#include <mutex>
#include <set>

#include "harness/base/rng.h"
#include "harness/method/quantize_model.h"
#include "harness/model/plan_model.h"
#include "harness/model/transformer.h"
#include "harness/quant/grid.h"
#include "harness/testing/random.h"
#include "harness/testing/testing.h"
#include "harness/testing/tiny_model.h"

// What asymmetric calibration reads: the inputs beside those of the reference.

namespace quantref {
namespace {

constexpr size_t kCrossTokens = 9, kCrossSamples = 11;  // more than one batch

struct CrossModel {
  CrossModel() {
    const testing::TempDir dir;
    testing::WriteTinyModel(dir.path(), {.layers = 3});
    config = ReadConfig(dir / "config.json");
    weights = LoadWeights(config, Checkpoint::Open(dir.path()), WeightType::kNative, 1);
    Rng rng(2);
    for (size_t s = 0; s < kCrossSamples; ++s)
      data.samples.push_back(testing::RandomIds(kCrossTokens, config.vocab, rng));
    spec.weights.group = 8;
    spec.weights.bits = 3;
  }
  ModelConfig config;
  ModelWeights weights;
  CalibrationData data;
  QuantizeSpec spec;
};

Matrix<double> CopyOf(const Matrix<double>& from) {
  Matrix<double> to(from.rows(), from.cols());
  std::copy_n(from.data(), from.rows() * from.cols(), to.data());
  return to;
}

// Rounds to nearest and remembers the products that it was given, by linear.
class CrossWatcher final : public Rounder {
 public:
  explicit CrossWatcher(bool true_sequential) : true_sequential_(true_sequential) {}
  std::string_view name() const override { return "watching"; }
  std::string_view summary() const override { return "for this test"; }
  DataNeeds needs(const Knobs&) const override {
    return {.cross = true, .true_sequential = true_sequential_};
  }
  Rounded Round(const RoundInput& input) const override {
    const std::lock_guard lock(mutex);
    if (input.inputs != nullptr) seen[std::string(input.name)] = CopyOf(input.inputs->cross);
    return {RoundToNearest(input.weights, input.scheme, input.limits)};
  }
  mutable std::mutex mutex;
  mutable std::map<std::string, Matrix<double>> seen;

 private:
  const bool true_sequential_;
};

// The inputs of a tap of one block, sample after sample, of a model with these blocks.
std::vector<Matrix<float>> InputsOf(const CrossModel& model,
                                    const std::vector<BlockWeights>& blocks, size_t block,
                                    Tap tap) {
  const RopeTable rope(model.config, kCrossTokens);
  std::vector<Matrix<float>> all;
  Workspace work;
  for (const auto& ids : model.data.samples) {
    Matrix<float> h(ids.size(), model.config.hidden);
    Embed(model.config, model.weights, ids, h.view());
    for (size_t b = 0; b <= block; ++b) {
      BlockForward({model.config, b, rope}, blocks[b], h.view(), work,
                   [&](Tap at, MatrixView<const float> x) {
                     if (b != block || at != tap) return;
                     Matrix<float>& copy = all.emplace_back(x.rows(), x.cols());
                     for (size_t t = 0; t < x.rows(); ++t)
                       std::copy_n(x.row(t), x.cols(), copy.row(t));
                   });
    }
  }
  return all;
}

// Relative to the largest product.
double CrossError(const Matrix<double>& found, const std::vector<Matrix<float>>& inputs,
                  const std::vector<Matrix<float>>& reference) {
  const size_t n = inputs.front().cols();
  REQUIRE(found.rows() == n);
  double largest = 0, error = 0;
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < n; ++j) {
      double sum = 0;
      for (size_t s = 0; s < inputs.size(); ++s) {
        for (size_t t = 0; t < inputs[s].rows(); ++t) {
          const double x = static_cast<double>(inputs[s](t, i));
          sum +=
              (static_cast<double>(reference[s](t, i)) - x) * static_cast<double>(inputs[s](t, j));
        }
      }
      largest = std::max(largest, std::fabs(sum));
      error = std::max(error, std::fabs(sum - found(i, j)));
    }
  }
  return largest == 0 ? error : error / largest;
}

double LargestProduct(const Matrix<double>& products) {
  double largest = 0;
  for (size_t i = 0; i < products.rows() * products.cols(); ++i)
    largest = std::max(largest, std::fabs(products.data()[i]));
  return largest;
}

TEST_CASE("reference inputs: behind quantized blocks, beside the reference's", "[cross]") {
  const CrossModel model;
  const CrossWatcher rounder(false);
  Method method;
  method.rounder = &rounder;
  const QuantizedModel made =
      QuantizeModel(model.config, model.weights, PlanModel(model.spec, model.config), method,
                    &model.data, {.threads = 2});
  CHECK(LargestProduct(rounder.seen["layers.0.mlp.down_proj"]) == 0);
  std::vector<BlockWeights> half = model.weights.blocks;
  for (size_t b = 0; b < 2; ++b) half[b] = WithKernels(made.weights.blocks[b]);
  const std::map<std::string, Tap> linears = {{"layers.2.self_attn.q_proj", Tap::kAttentionInput},
                                              {"layers.2.self_attn.o_proj", Tap::kAttentionOutput},
                                              {"layers.2.mlp.up_proj", Tap::kMlpInput},
                                              {"layers.2.mlp.down_proj", Tap::kMlpHidden}};
  for (const auto& [name, tap] : linears) {
    INFO(name);
    const Matrix<double>& seen = rounder.seen[name];
    CHECK(LargestProduct(seen) > 0.01);
    CHECK(CrossError(seen, InputsOf(model, half, 2, tap),
                     InputsOf(model, model.weights.blocks, 2, tap)) < 1e-4);
  }
}

TEST_CASE("reference inputs: tap by tap, behind the block's own rounded linears", "[cross]") {
  const CrossModel model;
  const CrossWatcher rounder(true);
  Method method;
  method.rounder = &rounder;
  const QuantizedModel made =
      QuantizeModel(model.config, model.weights, PlanModel(model.spec, model.config), method,
                    &model.data, {.threads = 1});
  std::vector<BlockWeights> blocks = model.weights.blocks;
  for (const size_t i : {kQ, kK, kV, kO}) blocks[0].linears[i] = made.weights.blocks[0].linears[i];
  CHECK(CrossError(rounder.seen["layers.0.mlp.up_proj"], InputsOf(model, blocks, 0, Tap::kMlpInput),
                   InputsOf(model, model.weights.blocks, 0, Tap::kMlpInput)) < 1e-4);
}

// Divides the attention norm's channels.
class HalvingTransform final : public Transform {
 public:
  std::string_view name() const override { return "halving"; }
  std::string_view summary() const override { return "for this test"; }
  void Apply(CalibratedBlock& block, const Knobs&, size_t) const override {
    for (const ScalingGroup& group : block.shape.layout().ScalingGroups()) {
      if (group.of_norm())
        Fold(block, group, std::vector<float>(block.shape.layout().Channels(group.tap), 2.0f));
    }
  }
};

TEST_CASE("reference inputs: a transform scales both alike", "[cross]") {
  const CrossModel model;
  const HalvingTransform halving;
  for (const bool tap_by_tap : {false, true}) {
    INFO(tap_by_tap);
    const CrossWatcher plain(tap_by_tap), scaled(tap_by_tap);
    for (const CrossWatcher* rounder : {&plain, &scaled}) {
      Method method;
      method.rounder = rounder;
      if (rounder == &scaled) method.transforms = {&halving};
      QuantizeModel(model.config, model.weights, PlanModel(model.spec, model.config), method,
                    &model.data, {.threads = 2});
    }
    // Powers of 2 change no rounding.
    const char* const name = "layers.1.self_attn.q_proj";
    Matrix<double>& expected = plain.seen[name];
    double error = 0;
    for (size_t i = 0; i < expected.rows() * expected.cols(); ++i)
      error = std::max(error, std::fabs(expected.data()[i] / 4 - scaled.seen[name].data()[i]));
    CHECK(error < 1e-4 * LargestProduct(expected));
  }
}

TEST_CASE("reference inputs: the head's too, and refused where there are none", "[cross]") {
  CrossModel model;
  model.spec.keep = {"embed_tokens"};
  const CrossWatcher rounder(false);
  Method method;
  method.rounder = &rounder;
  const auto plan = PlanModel(model.spec, model.config);
  QuantizeModel(model.config, model.weights, plan, method, &model.data, {.threads = 2});
  CHECK(LargestProduct(rounder.seen["lm_head"]) > 0.01);
  model.data.sequential = false;
  CHECK_ERROR(QuantizeModel(model.config, model.weights, plan, method, &model.data, {}),
              "sequential: asymmetric calibration");
}

// Takes weights of 4 bits alone.
class PickyRounder final : public Rounder {
 public:
  std::string_view name() const override { return "picky"; }
  std::string_view summary() const override { return "for this test"; }
  std::string WhyNot(const WeightScheme& scheme) const override {
    return scheme.bits == 4 ? "" : "takes 4 bits";
  }
  Rounded Round(const RoundInput& input) const override {
    return {RoundToNearest(input.weights, input.scheme, input.limits)};
  }
};

TEST_CASE("supports: a plugin for some schemes is refused elsewhere, with its reason") {
  const CrossModel model;
  const PickyRounder picky;
  Method method;
  method.rounder = &picky;
  QuantizeSpec spec = model.spec;
  const auto quantize = [&] {
    return QuantizeModel(model.config, model.weights, PlanModel(spec, model.config), method,
                         nullptr, {});
  };
  CHECK_ERROR(quantize(), "picky cannot be used with int3 g8 asym: it takes 4 bits",
              "layers.0.self_attn.q_proj");
  spec.weights.bits = 4;
  CHECK_NOTHROW(quantize());
}

}  // namespace
}  // namespace quantref
