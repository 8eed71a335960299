#include "harness/method/kept_model.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "harness/base/rng.h"
#include "harness/method/calibrate.h"
#include "harness/model/adapter.h"
#include "harness/model/plan_model.h"
#include "harness/quant/grid.h"
#include "harness/quant/quant_testing.h"
#include "harness/testing/testing.h"
#include "harness/testing/tiny_model.h"
#include "harness/testing/tiny_spec.h"

namespace quantref {
namespace {

using testing::TempDir;
using testing::TinyModel;

struct GivenModel {
  ModelConfig config;
  ModelWeights weights;
};

GivenModel LoadGiven(const TinyModel& model) {
  const TempDir dir;
  testing::WriteFile(dir / "config.json", testing::TinyConfig(model).dump());
  testing::WriteTensors(dir.path(), testing::TinyTensors(model));
  const ModelConfig config = ReadConfig(dir / "config.json");
  return {config, LoadWeights(config, Checkpoint::Open(dir.path()), WeightType::kNative, 1)};
}

// To nearest, with the columns in reverse, as act_order may have them.
class TurningRounder : public Rounder {
 public:
  std::string_view name() const override { return "reversed"; }
  std::string_view summary() const override { return "for this test"; }
  Rounded Round(const RoundInput& input) const override {
    Matrix<float> turned(input.weights.rows(), input.weights.cols());
    std::vector<uint32_t> order;
    for (size_t j = input.weights.cols(); j-- > 0;) order.push_back(static_cast<uint32_t>(j));
    for (size_t r = 0; r < turned.rows(); ++r) {
      for (size_t j = 0; j < order.size(); ++j) turned(r, j) = input.weights(r, order[j]);
    }
    PackedMatrix packed = RoundToNearest(turned.view(), input.scheme);
    packed.set_order(std::move(order));
    return {std::move(packed)};
  }
};

struct MadeModel {
  GivenModel given;
  std::vector<PlannedLinear> plan;
  QuantizedModel model;
};

MadeModel MakeKept(const TinyModel& tiny, const QuantizeSpec& spec, Products products,
                   const std::optional<ActivationScheme>& activations) {
  static const TurningRounder rounder;
  GivenModel given = LoadGiven(tiny);
  Method method;
  method.rounder = &rounder;
  method.activations = activations;
  std::vector<PlannedLinear> plan = PlanModel(spec, given.config);
  QuantizeOptions options;
  options.products = products;
  QuantizedModel model = QuantizeModel(given.config, given.weights, plan, method, nullptr, options);
  // What transforms do: norms, a matrix that is the checkpoint's no more, rounded or not.
  model.weights.blocks[0].norms[0][1] *= 2;
  Linear& kept = model.weights.blocks[1].linears[0];
  kept.weight = Weight(kept.weight.Decode());
  Linear& halves = model.weights.blocks[1].linears[1];
  halves.weight = Weight::RoundedToHalf(halves.weight.Decode().view(), "halves");
  model.seconds.round = 1.5;
  model.layers.front().output_mse = 0.25;
  return {std::move(given), std::move(plan), std::move(model)};
}

std::string KeptBytes(const MadeModel& made) {
  std::string bytes;
  REQUIRE(WriteModel(made.given.weights, made.plan, made.model,
                     [&](std::string_view piece) { bytes += piece; }));
  return bytes;
}

QuantizeSpec KeptSpec(bool all) {
  QuantizeSpec spec;
  spec.weights = {.bits = 4, .group = 8};
  if (all) spec.keep.clear();
  SchemeOverride kept;
  kept.match = "layers.1.self_attn.[qk]_proj";
  kept.keep = true;
  spec.overrides = {kept};
  return spec;
}

TEST_CASE("kept_model: what was written is read, to the same hash and the same numbers") {
  const bool tied = GENERATE(false, true);
  const Products products = GENERATE(Products::kSimulated, Products::kKernel);
  const std::optional<ActivationScheme> activations =
      GENERATE(std::optional<ActivationScheme>(), std::optional(ActivationScheme{}));
  const MadeModel made =
      MakeKept({.attention_bias = true, .tied = tied}, KeptSpec(true), products, activations);
  const auto read = ReadModel(KeptBytes(made), made.given.weights, made.plan, 2);
  REQUIRE(read);
  CHECK(HashQuantized(read->weights) == HashQuantized(made.model.weights));
  CHECK(read->seconds.round == 1.5);
  REQUIRE(read->layers.size() == made.model.layers.size());
  for (size_t i = 0; i < read->layers.size(); ++i) {
    const LayerReport &a = read->layers[i], &b = made.model.layers[i];
    CHECK(a.name == b.name);
    CHECK(a.scheme == b.scheme);
    CHECK(a.packed_sha256 == b.packed_sha256);
    CHECK(a.weight_mse == b.weight_mse);
    CHECK(a.output_mse == b.output_mse);
    CHECK(a.output_error == b.output_error);
    CHECK(a.scale_max == b.scale_max);
  }
  const auto got = AllLinears(read->weights), expected = AllLinears(made.model.weights);
  for (size_t i = 0; i < got.size(); ++i) {
    INFO(got[i]->name);
    CHECK((got[i]->weight.tiled() != nullptr) == (expected[i]->weight.tiled() != nullptr));
    CHECK(got[i]->weight.quantized() == expected[i]->weight.quantized());
    CHECK(got[i]->weight.owned() == expected[i]->weight.owned());
    CHECK(got[i]->weight.StorageBits() == expected[i]->weight.StorageBits());
    CHECK(got[i]->bias == expected[i]->bias);
  }
  CHECK(read->weights.head.weight.SharesStorage(read->weights.embedding.weight) == tied);
}

TEST_CASE("kept_model: every format is read to the same hash, and damage does no harm") {
  Rng rng(2);
  for (const WeightScheme& scheme : testing::FormatSchemes(8)) {
    INFO(SchemeName(scheme));
    QuantizeSpec spec = KeptSpec(false);
    spec.weights = scheme;
    const MadeModel made = MakeKept({.attention_bias = true}, spec, Products::kSimulated, {});
    const std::string bytes = KeptBytes(made);
    const auto read = ReadModel(bytes, made.given.weights, made.plan, 1);
    REQUIRE(read);
    CHECK(HashQuantized(read->weights) == HashQuantized(made.model.weights));
    CHECK(read->layers.front().scheme == scheme);
    for (int i = 0; i < 50; ++i) {
      std::string damaged = bytes;
      damaged[rng.Below(damaged.size())] = static_cast<char>(rng.Below(256));
      try {
        ReadModel(damaged, made.given.weights, made.plan, 1);
      } catch (const Error&) {
      }
    }
  }
}

TEST_CASE("kept_model: FP16 weights for outliers are kept beside codes") {
  for (const auto weights : {OutlierRule::Weights::kFp16, OutlierRule::Weights::kInt8}) {
    const ActivationScheme mixed{.outliers = OutlierRule{4.5, weights}};
    const MadeModel made = MakeKept({}, KeptSpec(false), Products::kKernel, mixed);
    const bool kept = weights == OutlierRule::Weights::kFp16;
    const double of_codes =
        MakeKept({}, KeptSpec(false), Products::kKernel, {}).model.layers[0].effective_bits;
    CHECK(made.model.layers[0].effective_bits == of_codes + (kept ? 16 : 0));
    const auto read = ReadModel(KeptBytes(made), made.given.weights, made.plan, 2);
    REQUIRE(read);
    CHECK(HashQuantized(read->weights) == HashQuantized(made.model.weights));
    const Linear& down = read->weights.blocks[0].linears[kDown];
    CHECK(down.activations->outliers == mixed.outliers);
    CHECK(down.outlier_weights.rows() == (kept ? down.weight.cols() : 0));
    CHECK(MeasureBits(read->weights).blocks == MeasureBits(made.model.weights).blocks);
  }
}

TEST_CASE("kept_model: adapters are kept beside codes") {
  MadeModel made = MakeKept({}, KeptSpec(false), Products::kKernel, std::nullopt);
  Linear& linear = made.model.weights.blocks[0].linears[kDown];
  const std::string before = HashQuantized(made.model.weights);
  const double bits = MeasureBits(made.model.weights).blocks;
  Matrix<float> a(2, linear.weight.cols()), b(linear.weight.rows(), 2);
  Rng rng(1);
  for (Matrix<float>* matrix : {&a, &b}) {
    for (size_t i = 0; i < matrix->rows() * matrix->cols(); ++i)
      matrix->data()[i] = static_cast<float>(1e-3 * rng.Normal());
  }
  linear.adapter = MakeAdapter(linear.name, a.view(), b.view(), 0.5f);
  const std::string hash = HashQuantized(made.model.weights);
  CHECK(hash != before);
  CHECK(MeasureBits(made.model.weights).blocks > bits);
  const std::string bytes = KeptBytes(made);
  const auto read = ReadModel(bytes, made.given.weights, made.plan, 2);
  REQUIRE(read.has_value());
  CHECK(HashQuantized(read->weights) == hash);
  CHECK(read->weights.blocks[0].linears[kQ].adapter == nullptr);
  CHECK_FALSE(ReadModel(bytes.substr(0, bytes.size() - 5), made.given.weights, made.plan, 2));
}

TEST_CASE("kept_model: activations in groups and in other formats") {
  for (const NumberFormat* format : ActivationFormats()) {
    const ActivationScheme scheme{.bits = 4, .group = 16, .format = format};
    const MadeModel made = MakeKept({}, KeptSpec(false), Products::kKernel, scheme);
    const auto read = ReadModel(KeptBytes(made), made.given.weights, made.plan, 2);
    REQUIRE(read);
    CHECK(read->weights.blocks[0].linears[kDown].activations == DynamicFormat(scheme));
    CHECK(HashQuantized(read->weights) == HashQuantized(made.model.weights));
  }
}

TEST_CASE("kept_model: biases of norms, which transforms divide or fold away, are kept") {
  const std::filesystem::path folder = testing::SourceDir() / "harness/model/testdata/opt_f16";
  const ModelConfig config = ReadConfig(folder / "config.json");
  const ModelWeights weights =
      LoadWeights(config, Checkpoint::Open(folder), WeightType::kNative, 1);
  const std::vector<PlannedLinear> plan = PlanModel(KeptSpec(true), config);
  QuantizedModel model{weights};
  std::vector<float>& biases = model.weights.blocks[0].norm_biases[0];
  REQUIRE_FALSE(biases.empty());
  biases[1] += 2;
  const auto read = [&] {
    std::string bytes;
    REQUIRE(WriteModel(weights, plan, model, [&](std::string_view piece) { bytes += piece; }));
    return ReadModel(bytes, weights, plan, 1);
  };
  const auto divided = read();
  REQUIRE(divided);
  CHECK(divided->weights.blocks[0].norm_biases == model.weights.blocks[0].norm_biases);
  biases.clear();
  const auto folded = read();
  REQUIRE(folded);
  CHECK(folded->weights.blocks[0].norm_biases == model.weights.blocks[0].norm_biases);
  model.weights.blocks[0].norms[0].clear();  // no transform leaves a norm without its gain
  CHECK_FALSE(read());
}

TEST_CASE("kept_model: what is cut short, too long or of another plan is refused") {
  const MadeModel made = MakeKept({.attention_bias = true}, KeptSpec(false), Products::kKernel, {});
  const std::string bytes = KeptBytes(made);
  const auto read = [&](const std::string& text, const std::vector<PlannedLinear>& plan) {
    return ReadModel(text, made.given.weights, plan, 1).has_value();
  };
  REQUIRE(read(bytes, made.plan));
  for (size_t size = 0; size < bytes.size(); size += size < 200 ? 1 : 61)
    CHECK_FALSE(read(bytes.substr(0, size), made.plan));
  CHECK_FALSE(read(bytes + "x", made.plan));
  QuantizeSpec other = KeptSpec(false);
  other.weights.bits = 3;
  CHECK_FALSE(read(bytes, PlanModel(other, made.given.config)));
}

// Sums in the files around it tell damage; but nothing that they might miss may do harm.
TEST_CASE("kept_model: any byte may be another") {
  const MadeModel made = MakeKept({.attention_bias = true}, KeptSpec(false), Products::kKernel, {});
  const std::string bytes = KeptBytes(made);
  Rng rng(1);
  for (int i = 0; i < 2000; ++i) {
    std::string damaged = bytes;
    for (int k = 0; k < 1 + i % 3; ++k)
      damaged[rng.Below(damaged.size())] = static_cast<char>(rng.Below(256));
    try {
      if (const auto read = ReadModel(damaged, made.given.weights, made.plan, 1))
        HashQuantized(read->weights);
    } catch (const Error&) {
    }
  }
}

}  // namespace
}  // namespace quantref
