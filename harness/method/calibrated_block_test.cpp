#include "harness/method/calibrated_block.h"

#include <catch2/catch.hpp>
#include <string>
#include <utility>

#include "harness/base/half.h"
#include "harness/method/calibrated_block_testing.h"
#include "harness/testing/testing.h"
#include "harness/testing/tiny_model.h"

namespace quantref {
namespace {

using testing::BlockSpec;
using testing::RelativeDifference;
using testing::TestBlock;

std::vector<float> RandomScales(size_t channels, uint64_t seed) {
  Rng rng(seed);
  std::vector<float> scales;
  for (size_t j = 0; j < channels; ++j) {
    scales.push_back(static_cast<float>(std::exp(2 * rng.Normal())));
  }
  return scales;
}

MatrixView<const float> AsRow(const std::vector<float>& values) {
  return {values.data(), 1, values.size()};
}

Matrix<float> Decoded(const TestBlock& test, size_t linear) {
  return test.block.weights.linears[linear].weight.Decode();
}

TEST_CASE("calibrated block: needs are joined", "[calibrated_block]") {
  CHECK_FALSE(DataNeeds().Any());
  CHECK_FALSE(DataNeeds{.true_sequential = true}.Any());
  CHECK(DataNeeds{.kept = 1}.Any());
  const DataNeeds both = DataNeeds{.channel_max = true, .true_sequential = true} |
                         DataNeeds{.channel_mean = true, .gram = true};
  CHECK(both.channel_max);
  CHECK(both.channel_mean);
  CHECK(both.gram);
  CHECK(both.true_sequential);
  CHECK_FALSE(both.kept);
}

TEST_CASE("calibrated block: statistics of divided channels", "[calibrated_block]") {
  InputStatistics input;
  input.channel_max = {8, 3};
  input.channel_mean = {4, 1};
  input.gram = Matrix<double>(2, 2);
  input.gram(0, 0) = 80, input.gram(0, 1) = input.gram(1, 0) = 12, input.gram(1, 1) = 5;
  input.kept.emplace_back(1, 2);
  input.kept[0](0, 0) = -8, input.kept[0](0, 1) = 2;
  input.DivideChannels(std::vector<float>{4, 0.5f});
  CHECK(input.channel_max == std::vector<float>{2, 6});
  CHECK(input.channel_mean == std::vector<double>{1, 2});
  CHECK(input.gram(0, 0) == 5);
  CHECK(input.gram(0, 1) == 6);
  CHECK(input.gram(1, 0) == 6);
  CHECK(input.gram(1, 1) == 20);
  CHECK(input.kept[0](0, 0) == -2);
  CHECK(input.kept[0](0, 1) == 4);

  InputStatistics nothing;
  nothing.DivideChannels(std::vector<float>{4, 0.5f});
  CHECK(nothing.channel_max.empty());
}

TEST_CASE("calibrated block: a tap is quantized if one of its readers is", "[calibrated_block]") {
  TestBlock test({});
  for (const Tap tap : kAllTaps) CHECK_FALSE(test.block.Quantizes(tap));
  test.block.schemes[kUp] = WeightScheme{};
  CHECK(test.block.Quantizes(Tap::kMlpInput));
  CHECK_FALSE(test.block.Quantizes(Tap::kMlpHidden));
}

TEST_CASE("calibrated block: the format of activations", "[calibrated_block]") {
  TestBlock test({});
  CHECK_FALSE(test.block.FormatFor({}).has_value());
  test.block.activations = ActivationScheme{.bits = 6};
  const auto dynamic = test.block.FormatFor({});
  REQUIRE(dynamic.has_value());
  CHECK(dynamic->bits == 6);
  CHECK(dynamic->per_token);
  CHECK_FALSE(dynamic->static_scale.has_value());
  test.block.activations = ActivationScheme{.bits = 8, .per_token = false, .dynamic = false};
  const auto fixed = test.block.FormatFor(std::vector<float>{1, 254, 3});
  REQUIRE(fixed.has_value());
  CHECK_FALSE(fixed->per_token);
  CHECK(fixed->static_scale == 2.0f);
}

TEST_CASE("calibrated block: what a norm's scales change", "[calibrated_block]") {
  TestBlock test({});
  const TestBlock before({});
  std::vector<float> scales(32, 1);
  scales[5] = 4;
  const ScalingGroup group = test.groups().front();
  ScaleChannels(test.block.weights, group, scales);
  CHECK(test.block.weights.norms[kAttentionNorm][5] ==
        before.block.weights.norms[kAttentionNorm][5] / 4);
  CHECK(test.block.weights.norms[kAttentionNorm][6] ==
        before.block.weights.norms[kAttentionNorm][6]);
  CHECK(test.block.weights.norms[kMlpNorm] == before.block.weights.norms[kMlpNorm]);
  for (const size_t reader : {kQ, kK, kV}) {
    CHECK(Decoded(test, reader)(3, 5) == 4 * Decoded(before, reader)(3, 5));
    CHECK(Decoded(test, reader)(3, 6) == Decoded(before, reader)(3, 6));
  }
  CHECK(RelativeDifference(Decoded(test, kO).view(), Decoded(before, kO).view()) == 0);
}

TEST_CASE("calibrated block: what a linear's scales change", "[calibrated_block]") {
  const BlockSpec spec{.bias = true};
  TestBlock test(spec);
  const TestBlock before(spec);
  std::vector<float> scales(48, 1);
  scales[7] = 0.5f;
  const ScalingGroup group = test.groups().back();
  REQUIRE(group.producer == Producer(LinearRows{kUp}));
  ScaleChannels(test.block.weights, group, scales);
  CHECK(Decoded(test, kUp)(7, 3) == 2 * Decoded(before, kUp)(7, 3));
  CHECK(Decoded(test, kUp)(8, 3) == Decoded(before, kUp)(8, 3));
  CHECK(test.block.weights.linears[kUp].bias[7] == 2 * before.block.weights.linears[kUp].bias[7]);
  CHECK(Decoded(test, kDown)(3, 7) == Decoded(before, kDown)(3, 7) / 2);
  CHECK(test.block.weights.linears[kDown].bias == before.block.weights.linears[kDown].bias);
  CHECK(test.block.weights.linears[kGate].bias == before.block.weights.linears[kGate].bias);
}

TEST_CASE("calibrated block: folding keeps the function, and statistics follow",
          "[calibrated_block]") {
  for (const BlockSpec& spec : {BlockSpec{}, BlockSpec{.kv_heads = 2}, BlockSpec{.bias = true}}) {
    TestBlock test(spec);
    const TestBlock before(spec);
    CHECK(test.groups().size() == (spec.kv_heads == spec.heads ? 4 : 3));
    for (const ScalingGroup& group : test.groups()) {
      INFO(test.ProducerName(group)
           << ", " << spec.kv_heads << " key-value heads, bias " << spec.bias);
      Fold(test.block, group, RandomScales(test.layout().Channels(group.tap), 3));
      for (const Matrix<float>& sample : test.samples) {
        CHECK(RelativeDifference(test.Output(sample).view(), before.Output(sample).view()) < 1e-5);
      }
      const auto collected = test.Collect();
      for (const Tap tap : kAllTaps) {
        const InputStatistics& again = collected[static_cast<size_t>(tap)];
        const InputStatistics& folded = test.block.input(tap);
        CHECK(RelativeDifference(AsRow(folded.channel_max), AsRow(again.channel_max)) < 1e-5);
        CHECK(RelativeDifference(folded.kept[1].view(), again.kept[1].view()) < 1e-5);
        for (size_t j = 0; j < again.channel_mean.size(); ++j) {
          CHECK(folded.channel_mean[j] == Approx(again.channel_mean[j]).epsilon(1e-4));
          CHECK(folded.gram(j, j) == Approx(again.gram(j, j)).epsilon(1e-4));
        }
      }
    }
  }
}

TEST_CASE("calibrated block: clipped weights are not scaled", "[calibrated_block]") {
  const std::vector<float> ones(48, 1);
  for (const size_t clipped : {kUp, kDown}) {
    TestBlock test({});
    test.block.limits[clipped] = Matrix<float>(1, 1);
    CHECK_ERROR(Fold(test.block, test.groups().back(), ones), "clipped", "put the one that clips");
  }
  TestBlock test({});
  test.block.limits[kGate] = Matrix<float>(1, 1);
  Fold(test.block, test.groups().back(), ones);
}

TEST_CASE("calibrated block: notes are for quantized readers", "[calibrated_block]") {
  TestBlock test({});
  test.block.schemes[kQ] = test.block.schemes[kV] = WeightScheme{};
  Note(test.block, Tap::kAttentionInput, "one");
  Note(test.block, Tap::kAttentionInput, "two");
  CHECK(test.block.notes[kQ] == "one, two");
  CHECK(test.block.notes[kV] == "one, two");
  CHECK(test.block.notes[kK].empty());
  CHECK(test.block.notes[kO].empty());
}

// Linear q of the first block of a tiny model; its file stays mapped.
struct StoredLinear {
  explicit StoredLinear(const std::string& dtype, WeightType type = WeightType::kNative) {
    const testing::TempDir dir;
    testing::WriteTinyModel(dir.path(), {.dtype = dtype});
    model = LoadWeights(ReadConfig(dir / "config.json"), Checkpoint::Open(dir.path()), type, 1);
    linear = model.blocks[0].linears[kQ];
  }
  // Its weights in FP32, row 0 multiplied by the factor, then stored as before.
  Linear StoredTimes(float factor) const {
    Linear changed = linear;
    Matrix<float> values = linear.weight.Decode();
    for (float& value : values.view().row_span(0)) value *= factor;
    changed.weight = Weight(std::move(values));
    StoreAsBefore(linear, changed);
    return changed;
  }

  ModelWeights model;
  Linear linear;
};

TEST_CASE("calibrated block: a linear that nothing changed gets its storage back",
          "[calibrated_block]") {
  for (const WeightType type : {WeightType::kNative, WeightType::kFp16}) {
    for (const char* dtype : {"F32", "F16", "BF16"}) {
      const StoredLinear stored(dtype, type);
      INFO(dtype);
      CHECK(stored.StoredTimes(1).weight.SharesStorage(stored.linear.weight));
    }
  }
}

TEST_CASE("calibrated block: a changed linear is stored as precisely as before",
          "[calibrated_block]") {
  constexpr float kFactor = 1.1f;
  for (const WeightType type : {WeightType::kNative, WeightType::kFp16}) {
    for (const std::string dtype : {"F32", "F16", "BF16"}) {
      const StoredLinear stored(dtype, type);
      const Linear found = stored.StoredTimes(kFactor);
      const bool wide = dtype == "F32" && type == WeightType::kNative;
      INFO(dtype << ", " << (wide ? "wide" : "16 bits"));
      CHECK(found.weight.owned());
      CHECK(found.weight.stored_in_16_bits() == !wide);
      CHECK(found.weight.StorageBits() == stored.linear.weight.StorageBits());
      const Matrix<float> before = stored.linear.weight.Decode(), after = found.weight.Decode();
      for (size_t c = 0; c < before.cols(); ++c) {
        const float expected = before(0, c) * kFactor;
        CHECK(after(0, c) == (wide ? expected : RoundToHalf(expected)));
        CHECK(after(1, c) == before(1, c));
      }
    }
  }
}

TEST_CASE("calibrated block: a changed linear that FP16 cannot hold is an Error",
          "[calibrated_block]") {
  CHECK_ERROR(StoredLinear("F16").StoredTimes(1e6f), "layers.0.self_attn.q_proj",
              "does not fit FP16");
  CHECK_NOTHROW(StoredLinear("F32").StoredTimes(1e6f));
}

}  // namespace
}  // namespace quantref
