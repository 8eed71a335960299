#include "harness/model/layout.h"

#include <array>
#include <catch2/catch.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace quantref {
namespace {

ModelConfig Config(size_t kv_heads = 2) {
  ModelConfig config;
  config.hidden = 10;
  config.intermediate = 20;
  config.heads = 4;
  config.kv_heads = kv_heads;
  config.head_dim = 6;
  config.vocab = 30;
  config.layers.resize(2);
  return config;
}

TEST_CASE("layout: names and shapes are those of the checkpoint's tensors", "[layout]") {
  const BlockLayout layout = LayoutOf(Config(), 0);
  std::vector<std::pair<std::string, std::pair<size_t, size_t>>> found;
  for (const LinearRow& row : layout.linears)
    found.push_back({std::string(row.name), {row.rows, row.cols}});
  CHECK((found == std::vector<std::pair<std::string, std::pair<size_t, size_t>>>{
                      {"self_attn.q_proj", {24, 10}},
                      {"self_attn.k_proj", {12, 10}},
                      {"self_attn.v_proj", {12, 10}},
                      {"self_attn.o_proj", {10, 24}},
                      {"mlp.gate_proj", {20, 10}},
                      {"mlp.up_proj", {20, 10}},
                      {"mlp.down_proj", {10, 20}}}));
  REQUIRE(layout.norms.size() == 2);
  CHECK(layout.norms[0].name == "input_layernorm");
  CHECK(layout.norms[1].name == "post_attention_layernorm");
  for (const NormRow& norm : layout.norms) CHECK(norm.size == 10);
  CHECK(layout.Weights() == 10 * (24 + 12 + 12 + 24 + 3 * 20));
  CHECK(NameInModel(3, layout.row(kDown).name) == "layers.3.mlp.down_proj");
}

TEST_CASE("layout: every linear reads one tap, as wide as the linear's inputs", "[layout]") {
  const BlockLayout layout = LayoutOf(Config(), 0);
  std::multiset<LinearIndex> readers;
  for (const Tap tap : kAllTaps) {
    for (const LinearIndex reader : layout.Readers(tap)) {
      CHECK(layout.row(reader).index == reader);
      CHECK(layout.row(reader).tap == tap);
      CHECK(layout.row(reader).cols == layout.Channels(tap));
      readers.insert(reader);
    }
  }
  CHECK(readers == std::multiset<LinearIndex>{kQ, kK, kV, kO, kGate, kUp, kDown});
  CHECK(layout.Channels(Tap::kAttentionInput) == 10);
  CHECK(layout.Channels(Tap::kAttentionOutput) == 24);
  CHECK(layout.Channels(Tap::kMlpInput) == 10);
  CHECK(layout.Channels(Tap::kMlpHidden) == 20);
}

TEST_CASE("layout: v is a producer only where heads do not share it", "[layout]") {
  for (const bool shared : {false, true}) {
    const auto groups = LayoutOf(Config(shared ? 2 : 4), 0).ScalingGroups();
    std::vector<std::pair<Tap, Producer>> found,
        expected = {{Tap::kAttentionInput, kAttentionNorm},
                    {Tap::kAttentionOutput, LinearRows{kV}},
                    {Tap::kMlpInput, kMlpNorm},
                    {Tap::kMlpHidden, LinearRows{kUp}}};
    if (shared) expected.erase(expected.begin() + 1);
    for (const ScalingGroup& group : groups) {
      found.emplace_back(group.tap, group.producer);
      CHECK(group.consumers == LayoutOf(Config(), 0).Readers(group.tap));
      CHECK(group.of_norm() == (group.tap == Tap::kAttentionInput || group.tap == Tap::kMlpInput));
    }
    CHECK((found == expected));
  }
}

TEST_CASE("layout: layers may differ in their biases", "[layout]") {
  ModelConfig config = Config();
  config.layers[1].bias[kK] = true;
  for (const LinearRow& row : LayoutOf(config, 0).linears) CHECK_FALSE(row.bias);
  for (const LinearRow& row : LayoutOf(config, 1).linears) CHECK(row.bias == (row.index == kK));
  CHECK(config.Parameters() == Config().Parameters() + 12);
}

TEST_CASE("layout: clipping leaves out what a softmax magnifies", "[layout]") {
  for (const LinearRow& row : LayoutOf(Config(), 0).linears)
    CHECK(row.clippable == (row.index != kQ && row.index != kK));
}

TEST_CASE("layout: parameters by hand", "[layout]") {
  ModelConfig config;
  config.hidden = 10;
  config.intermediate = 7;
  config.layers.resize(3);
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 6;
  config.vocab = 50;
  // q, k, v, o: 24x10, 12x10, 12x10, 10x24; three of 7x10; two norms of 10.
  constexpr size_t kBlock = 240 + 120 + 120 + 240 + 3 * 70 + 2 * 10;
  CHECK(config.Parameters() == 3 * kBlock + 2 * 500 + 10);
  config.tied_head = true;
  CHECK(config.Parameters() == 3 * kBlock + 500 + 10);
  for (LayerConfig& layer : config.layers) layer.bias[kQ] = layer.bias[kO] = true;
  CHECK(config.Parameters() == 3 * (kBlock + 24 + 10) + 500 + 10);
  for (LayerConfig& layer : config.layers) layer.bias[kK] = layer.bias[kV] = true;
  CHECK(config.Parameters() == 3 * (kBlock + 24 + 12 + 12 + 10) + 500 + 10);
  for (LayerConfig& layer : config.layers) layer.bias.fill(true);
  CHECK(config.Parameters() == 3 * (kBlock + 58 + 7 + 7 + 10) + 500 + 10);
}

TEST_CASE("layout: operations of a forward pass by hand", "[layout]") {
  ModelConfig config;
  config.hidden = 8;
  config.intermediate = 16;
  config.layers.resize(3);
  config.heads = 2;
  config.kv_heads = 1;
  config.head_dim = 6;
  config.vocab = 10;
  constexpr size_t kTokens = 5, kScored = 2;
  size_t multiply_adds = kScored * 8 * 10;
  for (size_t layer = 0; layer < 3; ++layer) {
    for (size_t token = 0; token < kTokens; ++token) {
      multiply_adds += 12 * 8 + 2 * 6 * 8 + 8 * 12;  // q, k and v, o
      multiply_adds += 3 * 16 * 8;                   // gate, up, down
      for (size_t head = 0; head < 2; ++head) multiply_adds += 2 * 6 * (token + 1);
    }
  }
  CHECK(config.ForwardFlops(kTokens, kScored) == static_cast<double>(2 * multiply_adds));
  CHECK(config.ForwardFlops(kTokens, 0) == static_cast<double>(2 * (multiply_adds - 160)));
  config.layers[1].sliding_window = 3;  // the fourth and fifth token see 3 keys instead of 4 and 5
  multiply_adds -= 2 * 2 * 6 * (1 + 2);
  CHECK(config.ForwardFlops(kTokens, kScored) == static_cast<double>(2 * multiply_adds));
}

}  // namespace
}  // namespace quantref
