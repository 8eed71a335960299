#include "harness/method/outliers.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <set>
#include <utility>
#include <vector>

#include "harness/base/rng.h"
#include "harness/model/transformer.h"
#include "harness/testing/testing.h"
#include "harness/testing/tiny_model.h"

namespace quantref {
namespace {

using testing::TempDir;
using testing::TinyModel;

constexpr size_t kTextTokens = 24, kHidden = 32;
const OutlierSpec kSpec{.channels = 0.1, .scale = 50, .seed = 3};  // 4 of 32

// The weights stay mapped when the folder is gone.
Transformer Tiny(const TinyModel& model) {
  const TempDir dir;
  testing::WriteTinyModel(dir.path(), model);
  const ModelConfig config = ReadConfig(dir / "config.json");
  return {config, LoadWeights(config, Checkpoint::Open(dir.path()), WeightType::kNative, 1),
          kTextTokens};
}

Transformer WithOutliers(const Transformer& model, const OutlierSpec& spec) {
  ModelWeights weights = model.weights();
  AddOutliers(model.config(), spec, weights);
  return {model.config(), std::move(weights), kTextTokens};
}

std::vector<uint32_t> Ids() {
  Rng rng(8);
  std::vector<uint32_t> ids(kTextTokens);
  for (uint32_t& id : ids) id = static_cast<uint32_t>(rng.Below(64));
  return ids;
}

Matrix<float> Logits(const Transformer& model) {
  Workspace work;
  Matrix<float> logits(kTextTokens, model.config().vocab);
  model.Logits(model.Hidden(Ids(), work).view(), logits.view(), work);
  return logits;
}

// The largest |a - b| as a share of the largest |b|.
double RelativeDifference(const Matrix<float>& a, const Matrix<float>& b) {
  double difference = 0, largest = 0;
  for (size_t i = 0; i < b.rows() * b.cols(); ++i) {
    const double left = static_cast<double>(a.data()[i]), right = static_cast<double>(b.data()[i]);
    difference = std::max(difference, std::fabs(left - right));
    largest = std::max(largest, std::fabs(right));
  }
  return difference / largest;
}

// The largest |x| of each channel at a tap of each block, block after block.
std::vector<std::vector<float>> ChannelMax(const Transformer& model, Tap tap) {
  std::vector<std::vector<float>> maxima;
  const RopeTable rope(model.config(), kTextTokens);
  Matrix<float> h(kTextTokens, kHidden);
  Embed(model.config(), model.weights(), Ids(), h.view());
  Workspace work;
  for (size_t layer = 0; layer < model.weights().blocks.size(); ++layer) {
    std::vector<float>& largest =
        maxima.emplace_back(LayoutOf(model.config(), layer).Channels(tap));
    BlockForward({model.config(), layer, rope}, model.weights().blocks[layer], h.view(), work,
                 [&](Tap at, MatrixView<const float> x) {
                   for (size_t t = 0; t < x.rows() && at == tap; ++t) {
                     for (size_t j = 0; j < x.cols(); ++j)
                       largest[j] = std::max(largest[j], std::fabs(x(t, j)));
                   }
                 });
  }
  return maxima;
}

TEST_CASE("outliers: the number of channels is rounded up", "[outliers]") {
  const auto count = [](double share, size_t hidden) {
    return OutlierChannels({.channels = share}, hidden).size();
  };
  CHECK(count(0.01, 32) == 1);
  CHECK(count(0.01, 2048) == 21);
  CHECK(count(0.25, 32) == 8);
  CHECK(count(0.26, 32) == 9);
  CHECK(count(1, 32) == 32);
  CHECK(count(1e-9, 4096) == 1);
}

TEST_CASE("outliers: channels are ascending, different, and follow from the seed", "[outliers]") {
  std::set<std::vector<size_t>> drawn;
  for (size_t seed = 0; seed < 5; ++seed) {
    const OutlierSpec spec{.channels = 0.25, .seed = seed};
    const std::vector<size_t> channels = OutlierChannels(spec, 64);
    CHECK(std::is_sorted(channels.begin(), channels.end()));
    CHECK(std::set<size_t>(channels.begin(), channels.end()).size() == 16);
    CHECK(channels.back() < 64);
    CHECK(OutlierChannels(spec, 64) == channels);
    drawn.insert(channels);
  }
  CHECK(drawn.size() == 5);
}

TEST_CASE("outliers: the model's function stays the same", "[outliers]") {
  for (const TinyModel& shape :
       {TinyModel{}, TinyModel{.kv_heads = 4, .attention_bias = true, .mlp_bias = true}}) {
    for (const auto& [dtype, bound] : {std::pair("F32", 1e-5), std::pair("F16", 1e-3)}) {
      TinyModel typed = shape;
      typed.dtype = dtype;
      const Transformer model = Tiny(typed);
      const Matrix<float> before = Logits(model), after = Logits(WithOutliers(model, kSpec));
      INFO(dtype);
      CHECK(RelativeDifference(after, before) < bound);
      CHECK(RelativeDifference(after, before) > 0);
    }
  }
}

TEST_CASE("outliers: the readers of norms get those channels `scale` times as loud", "[outliers]") {
  const Transformer model = Tiny({.layers = 3});
  const std::vector<size_t> loud = OutlierChannels(kSpec, kHidden);
  REQUIRE(loud.size() == 4);
  const Transformer changed = WithOutliers(model, kSpec);
  for (const Tap tap : kAllTaps) {
    const auto before = ChannelMax(model, tap), after = ChannelMax(changed, tap);
    const bool normed = tap == Tap::kAttentionInput || tap == Tap::kMlpInput;
    for (size_t layer = 0; layer < before.size(); ++layer) {
      for (size_t j = 0; j < before[layer].size(); ++j) {
        const bool is_loud = normed && std::binary_search(loud.begin(), loud.end(), j);
        INFO("tap " << static_cast<int>(tap) << ", block " << layer << ", channel " << j);
        CHECK(after[layer][j] == Approx(before[layer][j] * (is_loud ? 50 : 1)).epsilon(1e-3));
      }
    }
  }
}

TEST_CASE("outliers: the same seed gives the same model, another seed another", "[outliers]") {
  const Transformer model = Tiny({});
  const auto gain = [&](const OutlierSpec& spec) {
    return WithOutliers(model, spec).weights().blocks[1].norms[kMlpNorm];
  };
  OutlierSpec other = kSpec;
  other.seed = 4;
  CHECK(gain(kSpec) == gain(kSpec));
  CHECK(gain(kSpec) != gain(other));
}

TEST_CASE("outliers: changed weights keep their precision, others their storage", "[outliers]") {
  for (const char* dtype : {"F32", "F16", "BF16"}) {
    INFO(dtype);
    const Transformer model = Tiny({.dtype = dtype});
    const Transformer changed = WithOutliers(model, kSpec);
    for (size_t layer = 0; layer < 2; ++layer) {
      const auto& before = model.weights().blocks[layer].linears;
      const auto& after = changed.weights().blocks[layer].linears;
      for (size_t i = 0; i < kLinears; ++i) {
        const bool reads_norm = i != kO && i != kDown;
        INFO(after[i].name);
        CHECK(after[i].weight.StorageBits() == before[i].weight.StorageBits());
        CHECK(after[i].weight.SharesStorage(before[i].weight) == !reads_norm);
      }
    }
    CHECK(changed.weights().head.weight.SharesStorage(model.weights().head.weight));
    CHECK(changed.weights().final_norm == model.weights().final_norm);
  }
}

TEST_CASE("outliers: what would leave FP16 is an Error", "[outliers]") {
  const Transformer model = Tiny({.dtype = "F16"});
  CHECK_ERROR(WithOutliers(model, {.channels = 1, .scale = 1e-6}), "layers.0.self_attn.q_proj",
              "does not fit FP16");
}

}  // namespace
}  // namespace quantref
