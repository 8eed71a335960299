#include "eval/accuracy/kernel_path.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "eval/testing/tiny_models.h"
#include "harness/base/rng.h"
#include "harness/method/quantize_model.h"
#include "harness/model/plan_model.h"
#include "harness/quant/format.h"
#include "quantizers/registry.h"

namespace quantref {
namespace {

using testing::TempDir;
using testing::TinyModel;

// A tiny model quantized by rtn.
struct Quantized {
  explicit Quantized(const QuantizeSpec& spec,
                     const std::optional<ActivationScheme>& activations = std::nullopt,
                     TinyModel shape = {}, Products products = Products::kKernel) {
    testing::WriteTinyModel(dir.path(), shape);
    config = ReadConfig(dir / "config.json");
    const ModelWeights loaded =
        LoadWeights(config, Checkpoint::Open(dir.path()), WeightType::kNative, 1);
    Method method;
    method.rounder = FindRounder("rtn");
    method.activations = activations;
    weights = QuantizeModel(config, loaded, PlanModel(spec, config), method, nullptr,
                            {.threads = 2, .products = products})
                  .weights;
  }
  TempDir dir;
  ModelConfig config;
  ModelWeights weights;
};

constexpr WeightScheme kInt4 = {.bits = 4, .granularity = Granularity::kGroup, .group = 16};
QuantizeSpec Spec(const WeightScheme& scheme) {
  QuantizeSpec spec;
  spec.weights = scheme;
  return spec;
}

constexpr GapLimits kLimits = {1e-9, 1e-5};

// Between the model on the simulated path and these weights on that of the kernels, or another.
PathGap Gap(const Quantized& model, const ModelWeights& kernel,
            Products products = Products::kKernel) {
  const Protocol& protocol = FindProtocol("gptq-2048");
  const TokenStream stream = testing::RandomStream(300, model.config.vocab, 1);
  const std::vector<Window> windows = {{0, 100, 1}, {100, 200, 1}};
  return MeasureGap(Transformer(model.config, model.weights, 200, Products::kSimulated),
                    Transformer(model.config, kernel, 200, products), protocol, stream, windows, 1);
}

TEST_CASE("kernel path: quantized linears get the kernels' layout, kept ones stay") {
  QuantizeSpec spec = Spec(kInt4);
  SchemeOverride column, keep;
  column.match = "*.k_proj";
  column.granularity = Granularity::kColumn;
  keep.match = "*.v_proj";
  keep.keep = true;
  spec.overrides = {column, keep};
  const Quantized model(spec), simulated(spec, std::nullopt, {}, Products::kSimulated);
  const KernelPath path = PathOf(model.weights);
  CHECK(path.linears == 12);
  CHECK(path.simulated ==
        std::vector<std::string>{"layers.0.self_attn.k_proj", "layers.1.self_attn.k_proj"});
  CHECK(path.UsesKernels());
  CHECK(path.decoded_from == TokensToDecodeFor(std::nullopt, CodeForm::kPlain));
  const BlockWeights& block = model.weights.blocks[0];
  CHECK(block.linears[kQ].weight.tiled() != nullptr);
  CHECK(block.linears[kQ].weight.packed() == nullptr);  // in one layout
  CHECK(block.linears[kK].weight.tiled() == nullptr);
  CHECK(block.linears[kK].weight.packed() != nullptr);
  CHECK_FALSE(block.linears[kV].weight.quantized());
  CHECK(simulated.weights.blocks[0].linears[kQ].weight.tiled() == nullptr);
  CHECK(HashQuantized(simulated.weights) == HashQuantized(model.weights));
}

TEST_CASE("kernel path: the gate's forward passes slide and stretch as the model's do") {
  const Quantized sliding(Spec(kInt4), std::nullopt, {.sliding_window = 17});
  CHECK(Gap(sliding, sliding.weights).kl_mean < kLimits.kl_mean);
  Quantized stretched(Spec(kInt4));
  stretched.config.rope_scaling = {
      .kind = RopeScaling::Kind::kDynamic, .factor = 8, .original_context = 50};
  CHECK(Gap(stretched, stretched.weights).kl_mean < kLimits.kl_mean);
}

TEST_CASE("kernel path: nothing that the kernels can hold is the simulated path") {
  const Quantized model(Spec({.granularity = Granularity::kColumn}));
  const KernelPath path = PathOf(model.weights);
  CHECK(path.linears == 14);
  CHECK(path.simulated.size() == 14);
  CHECK_FALSE(path.UsesKernels());
  CHECK_FALSE(path.decoded_from);
}

TEST_CASE("kernel path: a tied head goes through the kernels, the embedding is looked up there") {
  QuantizeSpec spec = Spec(kInt4);
  spec.keep = {};
  const Quantized model(spec, std::nullopt, {.tied = true});
  CHECK(PathOf(model.weights).linears == 15);
  CHECK(PathOf(model.weights).decoded_from == TokensToDecodeFor(std::nullopt, CodeForm::kPlain));
  const Quantized rounded(spec, ActivationScheme{}, {.tied = true});
  CHECK_FALSE(PathOf(rounded.weights).decoded_from);  // all products are of codes
  CHECK(model.weights.head.weight.tiled() != nullptr);
  CHECK(model.weights.head.weight.SharesStorage(model.weights.embedding.weight));
  CHECK(kLimits.LogitsHold(Gap(model, model.weights)));
  const Quantized untied(spec);
  CHECK(untied.weights.head.weight.tiled() != nullptr);
  CHECK(untied.weights.embedding.weight.packed() != nullptr);
}

TEST_CASE("kernel path: both paths agree within the limits") {
  for (const auto& activations :
       {std::optional<ActivationScheme>(), std::optional<ActivationScheme>(ActivationScheme{}),
        std::optional<ActivationScheme>(ActivationScheme{.bits = 4, .per_token = false}),
        std::optional<ActivationScheme>(ActivationScheme{.bits = 4, .group = 16}),
        std::optional<ActivationScheme>(
            ActivationScheme{.bits = 4, .group = 32, .format = FindFormat("mxfp4")})}) {
    const bool codes = activations && DynamicFormat(activations)->HasIntegerProducts();
    for (const int bits : {2, 3, 4, 6, 8}) {
      WeightScheme scheme = kInt4;
      scheme.bits = bits;
      const Quantized model(Spec(scheme), activations);
      const PathGap gap = Gap(model, model.weights);
      INFO(bits << " bits, " << (activations ? activations->bits : 32) << " " << gap.kl_mean << " "
                << gap.linear_error);
      CHECK(gap.window == 1);
      CHECK(gap.positions == (codes || MultipliesCodes(std::nullopt, 200) ? 200 : 95));
      CHECK(kLimits.LinearsHold(gap));
      CHECK(gap.linear_error > 0);
      CHECK_FALSE(gap.worst_linear.empty());
      CHECK(gap.kl_max >= gap.kl_mean);
      CHECK(gap.logit_mean_abs > 0);
      if (!activations) CHECK(kLimits.LogitsHold(gap));
    }
  }
}

TEST_CASE("kernel path: both paths agree for every format that has a kernel") {
  for (const NumberFormat* format : NumberFormats()) {
    for (const auto& activations :
         {std::optional<ActivationScheme>(), std::optional<ActivationScheme>(ActivationScheme{})}) {
      const Quantized model(Spec(SchemeOf(*format)), activations);
      INFO(format->name << (activations ? " a8" : ""));
      CHECK(PathOf(model.weights).UsesKernels() == (format->bits() < 8));
      if (!PathOf(model.weights).UsesKernels()) continue;
      const PathGap gap = Gap(model, model.weights);
      INFO(gap.linear_error << " " << gap.kl_mean);
      CHECK(gap.linear_error > 0);
      CHECK(kLimits.LinearsHold(gap));
      if (!activations) CHECK(kLimits.LogitsHold(gap));
    }
  }
}

TEST_CASE("kernel path: the limits of codebooks are wider, as their products are less exact") {
  for (const NumberFormat* format : NumberFormats()) {
    INFO(format->name);
    const Quantized model(Spec(SchemeOf(*format)), std::nullopt);
    const GapLimits limits = LimitsFor(model.weights, kLimits);
    const bool codebook = format->name == "nf4" || format->name == "fp4" || format->name == "nvfp4";
    CHECK(limits.linear_error == Approx(codebook ? 1e-4 : 1e-5));
    CHECK(limits.kl_mean.value() == Approx(codebook ? 1e-7 : 1e-9));
    CHECK_FALSE(LimitsFor(model.weights, {std::nullopt, 1e-5}).kl_mean);
  }
}

// 32 inputs are 20 and 12, 48 are 20, 20 and 8.
TEST_CASE("kernel path: groups that do not divide are the kernels' too") {
  QuantizeSpec spec = Spec({.bits = 4, .granularity = Granularity::kGroup, .group = 20});
  spec.keep = {};
  for (const auto& activations :
       {std::optional<ActivationScheme>(), std::optional<ActivationScheme>(ActivationScheme{})}) {
    const Quantized model(spec, activations, {.tied = true});
    CHECK(PathOf(model.weights).simulated.empty());
    const PathGap gap = Gap(model, model.weights);
    INFO(gap.linear_error);
    CHECK(gap.linear_error > 0);
    CHECK(kLimits.LinearsHold(gap));
    if (!activations) CHECK(kLimits.LogitsHold(gap));
  }
}

TEST_CASE("kernel path: both agree beside outliers, and windows count them") {
  const WeightScheme rows{.bits = 8, .granularity = Granularity::kRow, .symmetric = true};
  for (const auto weights : {OutlierRule::Weights::kFp16, OutlierRule::Weights::kInt8}) {
    const Quantized model(Spec(rows), ActivationScheme{.outliers = OutlierRule{2, weights}});
    const PathGap gap = Gap(model, model.weights);
    CHECK(kLimits.LinearsHold(gap));
    CHECK(gap.linear_error > 0);
    const Transformer transformer(model.config, model.weights, 200);
    const TransformerSubject subject(transformer, "rtn");
    std::shared_ptr<Subject::Memory> memory;
    const auto reader = subject.MakeReader(memory, nullptr);
    const TokenStream stream = testing::RandomStream(200, model.config.vocab, 1);
    reader->Read(stream.ids);
    const std::vector<uint32_t> counted = reader->OutlierChannels();
    REQUIRE(counted.size() == model.config.layers.size() * kTaps);
    Workspace work;
    transformer.Hidden(stream.ids, work, [&](size_t layer, Tap tap, MatrixView<const float> x) {
      uint32_t channels = 0;
      for (size_t c = 0; c < x.cols(); ++c) {
        bool loud = false;
        for (size_t t = 0; t < x.rows(); ++t) loud = loud || std::fabs(x(t, c)) >= 2;
        channels += loud;
      }
      CHECK(counted[OutlierPlace(layer, tap)] == channels);
    });
    CHECK(counted[OutlierPlace(0, Tap::kAttentionInput)] > 0);
  }
}

TEST_CASE("kernel path: the same weights on the same path have no gap") {
  const Quantized model(Spec(kInt4));
  const PathGap gap = Gap(model, model.weights, Products::kSimulated);
  CHECK(gap.kl_mean == 0);
  CHECK(gap.logit_max_abs == 0);
  CHECK(gap.linear_error == 0);
  CHECK(gap.worst_linear == "");
  CHECK(gap.top1_agreement == 1);
}

// The kernels' layout of something else than the linear's codes.
Weight OneCodeOff(const Weight& weight) {
  PackedMatrix packed = weight.tiled()->Unpack();
  std::vector<uint8_t> codes(packed.cols());
  packed.GetCodes(3, codes);
  codes[7] ^= 1;
  packed.SetCodes(3, codes);
  return Weight(std::make_shared<const TiledMatrix>(packed));
}
Weight AnotherMatrix(const Weight& weight) {
  Rng rng(1);
  return Weight(std::make_shared<const TiledMatrix>(
      TiledMatrix::Random(weight.rows(), weight.cols(), kInt4, rng)));
}

TEST_CASE("kernel path: a wrong layout in one linear is found and named") {
  for (const auto& activations :
       {std::optional<ActivationScheme>(), std::optional<ActivationScheme>(ActivationScheme{})}) {
    const Quantized model(Spec(kInt4), activations);
    for (const auto plant : {OneCodeOff, AnotherMatrix}) {
      ModelWeights wrong = model.weights;
      Linear& down = wrong.blocks[1].linears[kDown];
      down.weight = plant(down.weight);
      const PathGap gap = Gap(model, wrong);
      CHECK_FALSE(kLimits.LinearsHold(gap));
      CHECK(gap.worst_linear == "layers.1.mlp.down_proj");
      if (!activations) CHECK_FALSE(kLimits.LogitsHold(gap));
    }
  }
}

TEST_CASE("kernel path: long windows are compared at their beginning") {
  const Quantized model(Spec(kInt4), std::nullopt, {.context = 1024});
  const TokenStream stream = testing::RandomStream(1000, model.config.vocab, 1);
  const std::vector<Window> windows = {{0, 1000, 1}};
  const PathGap gap =
      MeasureGap(Transformer(model.config, model.weights, 1000, Products::kSimulated),
                 Transformer(model.config, model.weights, 1000), FindProtocol("gptq-2048"), stream,
                 windows, 0);
  CHECK(gap.positions == (MultipliesCodes(std::nullopt, kGapPositions) ? kGapPositions : 95));
}

TEST_CASE("kernel path: without a limit of the logits only linears count") {
  PathGap gap;
  gap.kl_mean = 1;
  CHECK(GapLimits{std::nullopt, 1e-5}.LogitsHold(gap));
  CHECK_FALSE(GapLimits{0.5, 1e-5}.LogitsHold(gap));
  CHECK(GapLimits{0.5, 1e-5}.LinearsHold(gap));
  gap.linear_error = 2e-5;
  CHECK_FALSE(GapLimits{0.5, 1e-5}.LinearsHold(gap));
}

}  // namespace
}  // namespace quantref
