#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <map>
#include <string>
#include <string_view>
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
#include "quantizers/registry.h"
#include "quantizers/statistics_testing.h"

// Every format beside `int`, by every method that takes it, over a whole model whose groups do not
// divide its rows. A new format or method is under test as soon as it is in its list.

namespace quantref {
namespace {

using testing::RelativeChange;

// All of its matrices are rounded, of 40 and 70 inputs.
struct FormatModel {
  FormatModel() {
    const testing::TempDir dir;
    testing::WriteTinyModel(
        dir.path(), {.hidden = 40, .intermediate = 70, .heads = 5, .kv_heads = 1, .tied = true});
    config = ReadConfig(dir / "config.json");
    weights = LoadWeights(config, Checkpoint::Open(dir.path()), WeightType::kNative, 1);
    Rng rng(5);
    for (std::vector<uint32_t>& sample : data.samples)
      sample = testing::RandomIds(40, config.vocab, rng);
  }

  std::vector<PlannedLinear> Plan(const WeightScheme& scheme) const {
    QuantizeSpec spec;
    spec.weights = scheme;
    spec.keep = {};
    return PlanModel(spec, config);
  }

  // So few tokens that the kernels multiply codes.
  Matrix<float> Logits(const ModelWeights& of, Products products) const {
    return testing::LogitsOf(config, of, data.samples[0], products);
  }

  ModelConfig config;
  ModelWeights weights;
  CalibrationData data{.samples = std::vector<std::vector<uint32_t>>(2)};
};

// What the format's definition stores of a matrix: codes by whole bytes of a row, what stands
// beside each group, and what all scales of the matrix have in common.
double BitsByHand(const LinearShape& shape, const WeightScheme& scheme) {
  static const std::map<std::string_view, size_t> beside_group = {
      {"float_zero", 32}, {"nf4", 32},      {"fp4", 32},      {"mxfp4", 8},
      {"nvfp4", 8},       {"fp8_e4m3", 32}, {"fp8_e5m2", 32}, {"ternary", 16}};
  const size_t groups = (shape.cols + scheme.group - 1) / scheme.group,
               scales = shape.rows * groups;
  const size_t codes = shape.rows * 8 * ((shape.cols * static_cast<size_t>(scheme.bits) + 7) / 8);
  const size_t beside = scheme.double_quant ? 8 : beside_group.at(scheme.format->name);
  size_t common = scheme.format->name == "nvfp4" ? 32 : 0;
  if (scheme.double_quant) common = 32 + 32 * ((scales + 255) / 256);
  return static_cast<double>(codes + scales * beside + common);
}

void CheckBitsByHand(const std::vector<PlannedLinear>& plan, const QuantizedModel& model) {
  REQUIRE(model.layers.size() == plan.size());
  double all = 0, weights = 0;
  for (const PlannedLinear& planned : plan) {
    const auto layer = std::ranges::find(model.layers, planned.shape.name, &LayerReport::name);
    REQUIRE(layer != model.layers.end());
    const bool exponent = testing::Contains(layer->note, "scales times 2^");
    const double bits = BitsByHand(planned.shape, *planned.scheme) + (exponent ? 8 : 0);
    const auto count = static_cast<double>(planned.shape.rows * planned.shape.cols);
    INFO(layer->name);
    CHECK(layer->effective_bits == Approx(bits / count).epsilon(1e-12));
    all += bits;
    weights += count;
  }
  CHECK(MeasureBits(model.weights).model == Approx(all / weights).epsilon(1e-12));
}

void CheckFormatModel(const FormatModel& model, const Method& method, const WeightScheme& scheme,
                      const Matrix<float>& reference) {
  const std::vector<PlannedLinear> plan = model.Plan(scheme);
  const auto quantize = [&](size_t threads, Products products) {
    return QuantizeModel(model.config, model.weights, plan, method, &model.data,
                         {.threads = threads, .products = products});
  };
  const QuantizedModel packed = quantize(1, Products::kSimulated),
                       tiled = quantize(3, Products::kKernel);
  CHECK(HashQuantized(packed.weights) == HashQuantized(tiled.weights));
  CHECK(DecodedEachCall(tiled.weights).empty() == (scheme.format->bits() < 8));
  CheckBitsByHand(plan, packed);
  CheckBitsByHand(plan, tiled);
  const Matrix<float> logits = model.Logits(tiled.weights, Products::kKernel);
  const double most = scheme.bits == 8 ? 0.4 : scheme.bits == 4 ? 0.7 : 2;
  CHECK(RelativeChange(reference, logits) < most);
  CHECK(RelativeChange(model.Logits(packed.weights, Products::kSimulated), logits) <
        (method.activations ? 0.02 : 1e-5));
  std::string bytes;
  REQUIRE(WriteModel(model.weights, plan, tiled, [&](std::string_view piece) { bytes += piece; }));
  const auto kept = ReadModel(bytes, model.weights, plan, 2);
  REQUIRE(kept);
  CHECK(HashQuantized(kept->weights) == HashQuantized(tiled.weights));
}

// Each rounder alone, and behind both transforms.
std::vector<Method> MethodsFor(const WeightScheme& scheme) {
  std::vector<Method> methods;
  for (const Rounder* rounder : Rounders()) {
    if (!rounder->Supports(scheme)) continue;
    Method method;
    method.rounder = rounder;
    method.knobs.insert_or_assign("awq", testing::FewCandidates());
    methods.push_back(method);
    method.transforms = Transforms();
    methods.push_back(method);
  }
  return methods;
}

TEST_CASE("format models: every format by every method, on both paths, kept and counted") {
  const FormatModel model;
  const Matrix<float> reference = model.Logits(model.weights, Products::kKernel);
  for (const WeightScheme& scheme : testing::FormatSchemes(32)) {
    if (scheme.granularity != Granularity::kGroup) continue;
    for (Method method : MethodsFor(scheme)) {
      INFO(method.transforms.size()
           << " transforms, " << method.rounder->name() << ", " << SchemeName(scheme));
      CheckFormatModel(model, method, scheme, reference);
      if (method.rounder->name() != "rtn" || !method.transforms.empty()) continue;
      INFO("activations rounded");
      method.activations = ActivationScheme{};
      CheckFormatModel(model, method, scheme, reference);
    }
  }
}

}  // namespace
}  // namespace quantref
