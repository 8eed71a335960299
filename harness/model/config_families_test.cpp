#include <catch2/catch.hpp>
#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "harness/model/config_testing.h"
#include "harness/testing/testing.h"

// What families' config.json say beyond LLaMA's, which config_test.cpp reads.

namespace quantref {
namespace {

using nlohmann::json;
using testing::Biases;
using testing::ReadPatched;
using testing::ReadText;
using Kind = RopeScaling::Kind;

TEST_CASE("config: longrope's factors, and what follows from the two contexts", "[config]") {
  const json longrope = {{"rope_type", "longrope"},
                         {"short_factor", {1, 2, 3}},
                         {"long_factor", {4, 5, 6}},
                         {"original_max_position_embeddings", 100}};
  const auto read = [&](const json& patch) {
    json scaling = longrope;
    scaling.merge_patch(patch);
    return ReadPatched(json{{"rope_scaling", scaling}}).rope_scaling;
  };
  const RopeScaling plain = read(json::object());
  CHECK(plain.kind == Kind::kLongRope);
  CHECK(plain.short_factors == std::vector<double>{1, 2, 3});
  CHECK(plain.long_factors == std::vector<double>{4, 5, 6});
  CHECK(plain.original_context == 100);
  CHECK(plain.attention_factor == Approx(std::sqrt(1 + std::log(3.0) / std::log(100.0))));
  CHECK(read({{"factor", 1.0}}).attention_factor == 1);
  CHECK(read({{"attention_factor", 1.5}}).attention_factor == 1.5);
  // The number may stand beside the scaling, as the first files have it.
  const json beside = {{"original_max_position_embeddings", 50},
                       {"rope_scaling", longrope},
                       {"model_type", "phi3"},
                       {"architectures", {"Phi3ForCausalLM"}}};
  json older = beside;
  older["rope_scaling"].erase("original_max_position_embeddings");
  older["rope_scaling"]["rope_type"] = "su";
  CHECK(ReadPatched(older).rope_scaling.original_context == 50);
  CHECK(ReadPatched(older).rope_scaling.kind == Kind::kLongRope);
  CHECK_ERROR(read({{"short_factor", {1, 2}}}), "short_factor", "a list of 3 positive numbers");
  CHECK_ERROR(read({{"long_factor", {1, 2, 0}}}), "long_factor", "a list of 3 positive numbers");
  CHECK_ERROR(read({{"long_factor", 3}}), "long_factor");
  CHECK_ERROR(read({{"original_max_position_embeddings", 1}}), "more than 1");
}

json FamilyPatch(const char* model_type, const char* architecture) {
  return {{"model_type", model_type}, {"architectures", {architecture}}};
}

TEST_CASE("config: qwen's windows begin at a layer, and only where they are switched on",
          "[config]") {
  json qwen = FamilyPatch("qwen2", "Qwen2ForCausalLM");
  qwen["sliding_window"] = 20;
  qwen["max_window_layers"] = 1;
  const auto windows = [&](const json& patch) {
    json whole = qwen;
    whole.merge_patch(patch);
    std::vector<size_t> found;
    for (const LayerConfig& layer : ReadPatched(whole).layers)
      found.push_back(layer.sliding_window);
    return found;
  };
  using Sizes = std::vector<size_t>;
  CHECK(windows(json::object()) == Sizes{0, 0, 0});
  CHECK(windows({{"use_sliding_window", true}}) == Sizes{0, 20, 20});
  CHECK(windows({{"use_sliding_window", true}, {"max_window_layers", 0}}) == Sizes{20, 20, 20});
  const json types = {"full_attention", "full_attention", "sliding_attention"};
  CHECK(windows({{"use_sliding_window", true}, {"layer_types", types}}) == Sizes{0, 0, 20});
  // transformers has no window for such blocks, and ends there.
  CHECK_ERROR(windows({{"layer_types", types}}), "sliding_attention", "use_sliding_window");
  const json full = {"full_attention", "full_attention", "full_attention"};
  CHECK(windows({{"layer_types", full}}) == Sizes{0, 0, 0});
  qwen.erase("sliding_window");
  CHECK(windows({{"use_sliding_window", true}}) == Sizes{0, 4096, 4096});
  CHECK_ERROR(windows({{"layer_types", {"full_attention"}}}), "layer_types", "a list of 3 names");
  const ModelConfig config = ReadPatched(qwen);
  CHECK(config.layers[0].bias == std::array<bool, kLinears>{true, true, true});
}

TEST_CASE("config: gemma's windows, bases and caps", "[config]") {
  json gemma2 = FamilyPatch("gemma2", "Gemma2ForCausalLM");
  gemma2["sliding_window"] = 20;
  const ModelConfig second = ReadPatched(gemma2);
  CHECK(second.layers[0].sliding_window == 20);
  CHECK(second.layers[1].sliding_window == 0);
  CHECK(second.layers[2].sliding_window == 20);
  CHECK(second.attention_softcap == 50);
  CHECK(second.final_softcap == 30);
  CHECK(second.attention_scale == 1.0 / 16);
  CHECK_FALSE(second.HasLocalRope());
  CHECK(second.EmbeddingScale() == std::sqrt(96.0f));
  CHECK_ERROR(ReadPatched(R"({"model_type": "gemma2", "architectures": ["Gemma2ForCausalLM"],
                              "hidden_activation": "gelu"})"),
              "hidden_activation \"gelu\"", "is not supported");

  json gemma3 = FamilyPatch("gemma3_text", "Gemma3ForCausalLM");
  gemma3["sliding_window_pattern"] = 2;
  gemma3["rope_theta"] = nullptr;
  gemma3["rope_parameters"] = {
      {"full_attention", {{"rope_type", "linear"}, {"factor", 8.0}, {"rope_theta", 7e5}}},
      {"sliding_attention", {{"rope_type", "default"}, {"rope_theta", 300.0}}}};
  const ModelConfig third = ReadPatched(gemma3);
  CHECK(third.rope_theta == 7e5);
  CHECK(third.rope_scaling.factor == 8);
  CHECK(third.local_rope_theta == 300);
  CHECK(third.layers[0].local_rope);
  CHECK(third.layers[0].sliding_window == 4096);
  CHECK_FALSE(third.layers[1].local_rope);
  CHECK(third.layers[1].sliding_window == 0);
  CHECK(third.final_softcap == 0);
}

TEST_CASE("config: the text part of a model that reads pictures", "[config]") {
  const ModelConfig config = ReadText(R"({
    "model_type": "gemma3", "architectures": ["Gemma3ForConditionalGeneration"],
    "text_config": {"hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 7,
                    "model_type": "gemma3_text", "sliding_window": 512,
                    "rope_scaling": {"factor": 8.0, "rope_type": "linear"}},
    "vision_config": {"hidden_size": 1152}})");
  CHECK(config.family == FindFamily("gemma3_text"));
  CHECK(config.heads == 8);  // what the file leaves out
  CHECK(config.head_dim == 256);
  CHECK(config.vocab == 262208);
  CHECK(config.tied_head);
  CHECK(config.layers[4].sliding_window == 512);
  CHECK(config.layers[5].sliding_window == 0);
  CHECK(config.rope_theta == 1e6);
  CHECK_ERROR(ReadText(R"({"model_type": "gemma3", "text_config": {"hidden_size": "x"}})"),
              "config.json, text_config", "hidden_size");
  CHECK_ERROR(ReadText(R"({"model_type": "gemma3", "text_config": 3})"), "text_config");
}

TEST_CASE("config: OPT's variants are refused by name", "[config]") {
  const json opt = {{"model_type", "opt"},   {"architectures", {"OPTForCausalLM"}},
                    {"hidden_act", nullptr}, {"rms_norm_eps", nullptr},
                    {"ffn_dim", 200},        {"num_key_value_heads", nullptr},
                    {"head_dim", nullptr},   {"intermediate_size", nullptr},
                    {"rope_theta", nullptr}};
  const auto read = [&](const json& patch) {
    json whole = opt;
    whole.merge_patch(patch);
    return ReadPatched(whole);
  };
  const ModelConfig config = read(json::object());
  CHECK(config.intermediate == 200);
  CHECK(config.rms_eps == 1e-5);
  CHECK(Biases(config) == 3 * kLinears);
  CHECK(config.kv_heads == 12);
  for (const json& patch :
       {json{{"do_layer_norm_before", false}}, json{{"enable_bias", false}},
        json{{"layer_norm_elementwise_affine", false}}, json{{"_remove_final_layer_norm", true}},
        json{{"word_embed_proj_dim", 48}}, json{{"activation_function", "gelu"}}}) {
    CHECK_ERROR(read(patch), patch.begin().key(), "is not supported");
  }
}

TEST_CASE("config: a part of a head is rotated where the family knows it", "[config]") {
  json phi = FamilyPatch("phi3", "Phi3ForCausalLM");
  phi["head_dim"] = 8;
  phi["partial_rotary_factor"] = 0.5;
  CHECK(ReadPatched(phi).RotaryDim() == 4);
  CHECK(ReadPatched(phi).head_dim == 8);
  phi["partial_rotary_factor"] = 0.4;  // 3 channels
  CHECK_ERROR(ReadPatched(phi), "partial_rotary_factor", "a part of head_dim (8) that is even");
}

}  // namespace
}  // namespace quantref
