#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <map>
#include <memory>
#include <mutex>

#include "harness/base/error.h"
#include "harness/base/rng.h"
#include "harness/method/quantize_model.h"
#include "harness/model/plan_model.h"
#include "harness/model/transformer.h"
#include "harness/quant/grid.h"
#include "harness/testing/random.h"
#include "harness/testing/testing.h"
#include "harness/testing/tiny_model.h"

// QuantizeModel with calibration data.

namespace quantref {
namespace {

using testing::TempDir;
using testing::TinyModel;

constexpr size_t kBlockTokens = 10;

struct BlocksOfModel {
  explicit BlocksOfModel(const TinyModel& shape = {}, size_t samples = 6) {
    const TempDir dir;
    testing::WriteTinyModel(dir.path(), shape);
    config = ReadConfig(dir / "config.json");
    weights = LoadWeights(config, Checkpoint::Open(dir.path()), WeightType::kNative, 1);
    Rng rng(1);
    for (size_t s = 0; s < samples; ++s)
      data.samples.push_back(testing::RandomIds(kBlockTokens, config.vocab, rng));
    spec.weights.group = 8;
    spec.weights.bits = 3;
  }

  QuantizedModel Quantize(const Method& method, size_t threads = 2) const {
    return QuantizeModel(config, weights, PlanModel(spec, config), method, &data, {threads});
  }

  ModelConfig config;
  ModelWeights weights;
  CalibrationData data;
  QuantizeSpec spec;
};

// Rounds to nearest and remembers the mean magnitudes that it was given, by linear.
class WatchingRounder : public Rounder {
 public:
  explicit WatchingRounder(bool true_sequential = false) : true_sequential_(true_sequential) {}
  std::string_view name() const override { return "watching"; }
  std::string_view summary() const override { return "for this test"; }
  DataNeeds needs(const Knobs&) const override {
    return {.channel_mean = true, .true_sequential = true_sequential_};
  }
  Rounded Round(const RoundInput& input) const override {
    const std::lock_guard lock(mutex);
    seen[std::string(input.name)] =
        input.inputs == nullptr ? std::vector<double>() : input.inputs->channel_mean;
    return {RoundToNearest(input.weights, input.scheme, input.limits), "watched"};
  }
  mutable std::mutex mutex;
  mutable std::map<std::string, std::vector<double>> seen;

 private:
  bool true_sequential_;
};

Method MethodOf(const Rounder& rounder) {
  Method method;
  method.rounder = &rounder;
  return method;
}

// The mean magnitudes of a tap's channels of one block of a whole model.
std::vector<double> MeanInputs(const BlocksOfModel& fixture,
                               const std::vector<BlockWeights>& blocks, size_t block, Tap tap) {
  const RopeTable rope(fixture.config, kBlockTokens);
  Calibrator calibrator(fixture.config, fixture.weights, fixture.data,
                        {fixture.data.samples.size(), kBlockTokens}, 1, size_t{1} << 30);
  std::array<InputStatistics, kTaps> statistics;
  for (size_t b = 0; b <= block; ++b) {
    calibrator.Run(
        [&](MatrixView<float> h, Workspace& work, const Observer& observer) {
          BlockForward({fixture.config, b, rope}, blocks[b], h, work, observer);
        },
        {LayoutOf(fixture.config, b), kAllTaps, {.channel_mean = true}, {}, true}, statistics, {});
  }
  return statistics[static_cast<size_t>(tap)].channel_mean;
}

TEST_CASE("quantize_blocks: a block reads what the quantized blocks before it give",
          "[quantize_blocks]") {
  const BlocksOfModel fixture;
  const WatchingRounder rounder;
  const QuantizedModel quantized = fixture.Quantize(MethodOf(rounder));
  std::vector<BlockWeights> half = fixture.weights.blocks;
  half[0] = WithKernels(quantized.weights.blocks[0]);
  CHECK(rounder.seen.size() == 14);
  CHECK(rounder.seen["layers.0.mlp.down_proj"] ==
        MeanInputs(fixture, fixture.weights.blocks, 0, Tap::kMlpHidden));
  CHECK(rounder.seen["layers.1.self_attn.k_proj"] ==
        MeanInputs(fixture, half, 1, Tap::kAttentionInput));
  CHECK(rounder.seen["layers.1.mlp.down_proj"] == MeanInputs(fixture, half, 1, Tap::kMlpHidden));
}

TEST_CASE("quantize_blocks: or what the reference gives", "[quantize_blocks]") {
  BlocksOfModel fixture;
  fixture.data.sequential = false;
  for (const bool true_sequential : {false, true}) {
    const WatchingRounder rounder(true_sequential);
    fixture.Quantize(MethodOf(rounder));
    CHECK(rounder.seen["layers.1.self_attn.k_proj"] ==
          MeanInputs(fixture, fixture.weights.blocks, 1, Tap::kAttentionInput));
  }
}

TEST_CASE("quantize_blocks: true_sequential reads through the block's own rounded linears",
          "[quantize_blocks]") {
  const BlocksOfModel fixture;
  const WatchingRounder rounder(true);
  const QuantizedModel quantized = fixture.Quantize(MethodOf(rounder));
  std::vector<BlockWeights> blocks = fixture.weights.blocks;
  CHECK(rounder.seen["layers.0.self_attn.q_proj"] ==
        MeanInputs(fixture, blocks, 0, Tap::kAttentionInput));
  for (const size_t i : {kQ, kK, kV}) {
    blocks[0].linears[i] = quantized.weights.blocks[0].linears[i];
  }
  CHECK(rounder.seen["layers.0.self_attn.o_proj"] ==
        MeanInputs(fixture, blocks, 0, Tap::kAttentionOutput));
  blocks[0].linears[kO] = quantized.weights.blocks[0].linears[kO];
  CHECK(rounder.seen["layers.0.mlp.up_proj"] == MeanInputs(fixture, blocks, 0, Tap::kMlpInput));
}

TEST_CASE("quantize_blocks: threads and spilling leave the bits alone", "[quantize_blocks]") {
  BlocksOfModel fixture;
  const WatchingRounder rounder;
  const Method method = MethodOf(rounder);
  const std::string hash = HashQuantized(fixture.Quantize(method, 1).weights);
  const auto seen = rounder.seen;
  for (const size_t threads : {2, 4}) {
    CHECK(HashQuantized(fixture.Quantize(method, threads).weights) == hash);
    CHECK(rounder.seen == seen);
  }
  fixture.data.activation_budget = 0;
  CHECK(HashQuantized(fixture.Quantize(method, 2).weights) == hash);
  CHECK(rounder.seen == seen);
}

TEST_CASE("quantize_blocks: embedding and head", "[quantize_blocks]") {
  for (const bool tied : {false, true}) {
    INFO("tied " << tied);
    BlocksOfModel fixture({.tied = tied});
    fixture.spec.keep.clear();
    const WatchingRounder rounder;
    Method method = MethodOf(rounder);
    method.activations = ActivationScheme{8, false, false};
    const QuantizedModel quantized = fixture.Quantize(method);
    CHECK(rounder.seen.at("embed_tokens").empty());
    CHECK(rounder.seen.contains("lm_head") == !tied);
    if (!tied) CHECK(rounder.seen.at("lm_head").size() == fixture.config.hidden);
    CHECK(quantized.weights.head.weight.quantized());
    CHECK_FALSE(quantized.weights.embedding.activations);
    REQUIRE(quantized.weights.head.activations);
    CHECK(*quantized.weights.head.activations->static_scale > 0);
    CHECK(quantized.layers.front().name == "embed_tokens");
    CHECK_FALSE(quantized.layers.front().output_error);
  }
}

TEST_CASE("quantize_blocks: activations are rounded where weights are", "[quantize_blocks]") {
  BlocksOfModel fixture;
  SchemeOverride keep;
  keep.match = "layers.0.self_attn.k_proj";
  keep.keep = true;
  fixture.spec.overrides = {keep};
  const WatchingRounder rounder;
  Method method = MethodOf(rounder);
  method.activations = ActivationScheme{8, false, false};
  const QuantizedModel quantized = fixture.Quantize(method);
  const BlockWeights& block = quantized.weights.blocks[0];
  CHECK_FALSE(block.linears[kK].activations);
  CHECK_FALSE(quantized.weights.head.activations);
  REQUIRE(block.linears[kQ].activations);
  CHECK(block.linears[kQ].activations->bits == 8);
  CHECK_FALSE(block.linears[kQ].activations->per_token);
  // The largest input of q is that of k, which the reference shows.
  const RopeTable rope(fixture.config, kBlockTokens);
  float largest = 0;
  Workspace work;
  for (const std::vector<uint32_t>& ids : fixture.data.samples) {
    Matrix<float> h(kBlockTokens, fixture.config.hidden);
    Embed(fixture.config, fixture.weights, ids, h.view());
    BlockForward({fixture.config, 0, rope}, fixture.weights.blocks[0], h.view(), work,
                 [&](Tap tap, MatrixView<const float> x) {
                   if (tap != Tap::kAttentionInput) return;
                   for (size_t t = 0; t < x.rows(); ++t) {
                     for (const float value : x.row_span(t))
                       largest = std::max(largest, std::fabs(value));
                   }
                 });
  }
  CHECK(*block.linears[kQ].activations->static_scale == largest / 127);
}

// Doubles what o reads by way of v, and limits the first weight of q.
class ScalingTransform final : public Transform {
 public:
  std::string_view name() const override { return "scaling"; }
  std::string_view summary() const override { return "for this test"; }
  DataNeeds needs(const Knobs&) const override { return {.channel_max = true}; }
  void Apply(CalibratedBlock& block, const Knobs&, size_t) const override {
    const BlockLayout layout = block.shape.layout();
    for (const ScalingGroup& group : layout.ScalingGroups()) {
      const std::vector<float> scales(layout.Channels(group.tap), 0.7f);
      Fold(block, group, scales);
      Note(block, group.tap, "0.7");
    }
    Matrix<float>& limits = block.limits[kQ];
    limits = Matrix<float>(block.weights.linears[kQ].weight.rows(),
                           block.weights.linears[kQ].weight.cols() / 8);
    std::fill_n(limits.data(), limits.rows() * limits.cols(), 1e-3f);
  }
};

TEST_CASE("quantize_blocks: transforms come before the rounder, whose report says so",
          "[quantize_blocks]") {
  BlocksOfModel fixture({.kv_heads = 4, .dtype = "F16"});
  SchemeOverride keep;
  keep.match = "layers.*.mlp.*";
  keep.keep = true;
  fixture.spec.overrides = {keep};
  const WatchingRounder rounder;
  const ScalingTransform transform;
  Method method = MethodOf(rounder);
  method.transforms = {&transform};
  const QuantizedModel quantized = fixture.Quantize(method);
  const BlockWeights& block = quantized.weights.blocks[0];
  CHECK(quantized.layers.size() == 8);
  CHECK(quantized.layers[0].note == "0.7, watched");
  CHECK(quantized.layers[0].clipped_share > 0.9);
  CHECK(quantized.layers[1].clipped_share < 0.1);
  // q's grids end at the limit; o's weights were multiplied by 0.7.
  CHECK(quantized.layers[0].scale_max <= 2e-3f / 7 * 1.001f);
  float largest_before = 0, largest_after = 0;
  const Matrix<float> before = fixture.weights.blocks[0].linears[kO].weight.Decode();
  const Matrix<float> after = block.linears[kO].weight.Decode();
  for (size_t i = 0; i < before.rows() * before.cols(); ++i) {
    largest_before = std::max(largest_before, std::fabs(before.data()[i]));
    largest_after = std::max(largest_after, std::fabs(after.data()[i]));
  }
  CHECK(largest_after == Approx(0.7 * static_cast<double>(largest_before)).epsilon(0.1));
  // What stays unquantized is in 16 bits again.
  CHECK(block.linears[kGate].weight.stored_in_16_bits());
  CHECK(block.linears[kGate].weight.owned());
  CHECK(block.linears[kGate].weight.StorageBits() ==
        fixture.weights.blocks[0].linears[kGate].weight.StorageBits());
}

TEST_CASE("quantize_blocks: calibration slides and stretches as the model does",
          "[quantize_blocks]") {
  const BlocksOfModel plain;
  const WatchingRounder rounder;
  // What o_proj of the second block reads, where that model is calibrated.
  const auto inputs = [&](size_t window, const RopeScaling& scaling) {
    BlocksOfModel fixture = plain;
    for (LayerConfig& layer : fixture.config.layers) layer.sliding_window = window;
    fixture.config.rope_scaling = scaling;
    fixture.Quantize(MethodOf(rounder));
    return rounder.seen.at("layers.1.self_attn.o_proj");
  };
  const auto dynamic = [](double original) {
    return RopeScaling{
        .kind = RopeScaling::Kind::kDynamic, .factor = 4, .original_context = original};
  };
  const std::vector<double> all = inputs(0, {});
  CHECK(inputs(kBlockTokens, {}) == all);
  CHECK(inputs(3, {}) != all);
  CHECK(inputs(0, dynamic(kBlockTokens)) == all);
  CHECK(inputs(0, dynamic(kBlockTokens / 2)) != all);
}

TEST_CASE("quantize_blocks: transforms without rounding leave the logits alone",
          "[quantize_blocks]") {
  for (const char* dtype : {"F32", "F16"}) {
    BlocksOfModel fixture({.kv_heads = 4, .dtype = dtype});
    const auto logits = [&](const ModelWeights& weights) {
      const Transformer model(fixture.config, weights, kBlockTokens);
      Workspace work;
      Matrix<float> result(kBlockTokens, fixture.config.vocab);
      model.Logits(model.Hidden(fixture.data.samples[0], work).view(), result.view(), work);
      return result;
    };
    const Matrix<float> before = logits(fixture.weights);
    fixture.spec.weights.bits = 8;  // the least that there is ...
    const WatchingRounder rounder;
    const ScalingTransform transform;
    Method method = MethodOf(rounder);
    method.transforms = {&transform};
    SchemeOverride keep;
    keep.match = "layers.*";
    keep.keep = true;
    fixture.spec.overrides = {keep};
    keep.match = "layers.1.mlp.down_proj";  // ... in one matrix alone, which nothing reads after
    keep.keep = false;
    fixture.spec.overrides.push_back(keep);
    const Matrix<float> after = logits(fixture.Quantize(method).weights);
    double difference = 0, largest = 0;
    for (size_t i = 0; i < before.rows() * before.cols(); ++i) {
      difference =
          std::max(difference, std::fabs(static_cast<double>(before.data()[i] - after.data()[i])));
      largest = std::max(largest, std::fabs(static_cast<double>(before.data()[i])));
    }
    CHECK(difference / largest < 1e-2);
  }
}

TEST_CASE("quantize_blocks: output errors are those of the kept inputs", "[quantize_blocks]") {
  const BlocksOfModel fixture;
  const WatchingRounder rounder;
  const QuantizedModel quantized = fixture.Quantize(MethodOf(rounder));
  const Matrix<float> before = fixture.weights.blocks[0].linears[kQ].weight.Decode();
  const Matrix<float> after = quantized.weights.blocks[0].linears[kQ].weight.Decode();
  double squares = 0, errors = 0;
  size_t outputs = 0;
  for (size_t s = 0; s < fixture.data.samples.size(); ++s) {
    Matrix<float> h(kBlockTokens, fixture.config.hidden);
    Embed(fixture.config, fixture.weights, fixture.data.samples[s], h.view());
    RmsNorm(h.view(), fixture.weights.blocks[0].norms[kAttentionNorm], fixture.config.rms_eps,
            h.view());
    for (size_t t = 0; t < kBlockTokens; ++t) {
      for (size_t r = 0; r < before.rows(); ++r, ++outputs) {
        double y = 0, difference = 0;
        for (size_t c = 0; c < before.cols(); ++c) {
          const double x = static_cast<double>(h(t, c));
          y += x * static_cast<double>(before(r, c));
          difference += x * static_cast<double>(after(r, c) - before(r, c));
        }
        squares += y * y;
        errors += difference * difference;
      }
    }
  }
  REQUIRE(quantized.layers[0].name == "layers.0.self_attn.q_proj");
  REQUIRE(quantized.layers[0].output_error);
  CHECK(*quantized.layers[0].output_mse ==
        Approx(errors / static_cast<double>(outputs)).epsilon(1e-4));
  CHECK(*quantized.layers[0].output_error == Approx(errors / squares).epsilon(1e-4));
}

TEST_CASE("quantize_blocks: progress ends at its total and may stop the work",
          "[quantize_blocks]") {
  const BlocksOfModel fixture;
  for (const bool true_sequential : {false, true}) {
    const WatchingRounder rounder(true_sequential);
    size_t last = 0, end = 0, calls = 0;
    QuantizeOptions options{2, [&](size_t done, size_t total, std::string_view what) {
                              CHECK(done > last);
                              CHECK_FALSE(what.empty());
                              last = done;
                              end = total;
                              ++calls;
                            }};
    const std::vector<PlannedLinear> plan = PlanModel(fixture.spec, fixture.config);
    QuantizeModel(fixture.config, fixture.weights, plan, MethodOf(rounder), &fixture.data, options);
    CHECK(last <= end);
    CHECK(calls + 2 * fixture.data.samples.size() >= end);
    options.progress = [](size_t done, size_t, std::string_view) {
      if (done == 3) throw Interrupted("stopped", "");
    };
    CHECK_THROWS_AS(QuantizeModel(fixture.config, fixture.weights, plan, MethodOf(rounder),
                                  &fixture.data, options),
                    Interrupted);
  }
}

}  // namespace
}  // namespace quantref
