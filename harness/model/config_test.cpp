#include "harness/model/config.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "harness/base/sha256.h"
#include "harness/model/config_testing.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

using nlohmann::json;
using testing::Biases;
using testing::kValidConfig;
using testing::ReadPatched;
using testing::ReadText;
using testing::TempDir;
using Kind = RopeScaling::Kind;

// The valid file without its last brace, and the text instead of it.
ModelConfig ReadExtended(const std::string& text) {
  std::string document = kValidConfig;
  document.erase(document.rfind('}'));
  return ReadText(document + ", " + text + "}");
}

// Of all layers alike.
size_t Window(const ModelConfig& config) {
  const size_t window = config.layers.at(0).sliding_window;
  for (const LayerConfig& layer : config.layers) CHECK(layer.sliding_window == window);
  return window;
}

TEST_CASE("config: every field is read", "[config]") {
  const ModelConfig config = ReadText(kValidConfig);
  CHECK(config.model_type == "llama");
  CHECK(config.hidden == 96);
  CHECK(config.intermediate == 160);
  CHECK(config.layers.size() == 3);
  CHECK(config.heads == 12);
  CHECK(config.kv_heads == 4);
  CHECK(config.head_dim == 6);
  CHECK(config.vocab == 500);
  CHECK(config.context == 300);
  CHECK(config.rms_eps == 2e-5);
  CHECK(config.rope_theta == 5000.0);
  CHECK(config.rope_scaling.kind == Kind::kNone);
  CHECK(Biases(config) == 3 * kLinears);
  CHECK(config.tied_head);
  CHECK(config.bos_id == 7u);
}

TEST_CASE("config: what may be absent, or null, has its default", "[config]") {
  const char* const optional[] = {
      "architectures",  "hidden_act",          "rope_theta",     "num_key_value_heads",
      "head_dim",       "attention_bias",      "mlp_bias",       "tie_word_embeddings",
      "bos_token_id",   "eos_token_id",        "torch_dtype",    "rope_scaling",
      "sliding_window", "quantization_config", "rope_parameters"};
  json absent = json::parse(kValidConfig), null = absent;
  for (const char* key : optional) {
    absent.erase(key);
    null[key] = nullptr;
  }
  for (const json& document : {absent, null}) {
    const ModelConfig config = ReadText(document.dump());
    CHECK(config.kv_heads == 12);
    CHECK(config.head_dim == 8);
    CHECK(config.rope_theta == 10000.0);
    CHECK(config.rope_scaling.kind == Kind::kNone);
    CHECK(Biases(config) == 0);
    CHECK_FALSE(config.tied_head);
    CHECK_FALSE(config.bos_id.has_value());
  }
}

TEST_CASE("config: the family's other spellings", "[config]") {
  const ModelConfig mistral = ReadPatched(R"({
    "model_type": "mistral", "architectures": ["MistralForCausalLM"], "hidden_act": "swish",
    "sliding_window": 300, "partial_rotary_factor": 1.0})");
  CHECK(mistral.model_type == "mistral");
  CHECK(mistral.hidden == 96);
}

TEST_CASE("config: rope_scaling", "[config]") {
  CHECK(ReadPatched(R"({"rope_scaling": {"rope_type": "default"}})").rope_scaling.kind ==
        Kind::kNone);
  for (const char* key : {"type", "rope_type"}) {
    const RopeScaling linear =
        ReadPatched(json{{"rope_scaling", {{key, "linear"}, {"factor", 2.5}}}}).rope_scaling;
    CHECK(linear.kind == Kind::kLinear);
    CHECK(linear.factor == 2.5);
  }
  const RopeScaling llama3 = ReadPatched(R"({"rope_scaling": {"rope_type": "llama3", "factor": 8,
    "low_freq_factor": 1.5, "high_freq_factor": 4.5, "original_max_position_embeddings": 128}})")
                                 .rope_scaling;
  CHECK(llama3.kind == Kind::kLlama3);
  CHECK(llama3.factor == 8);
  CHECK(llama3.low_freq_factor == 1.5);
  CHECK(llama3.high_freq_factor == 4.5);
  CHECK(llama3.original_context == 128);
}

TEST_CASE("config: dynamic scaling stretches max_position_embeddings", "[config]") {
  const ModelConfig config = ReadPatched(R"({"rope_scaling": {"type": "dynamic", "factor": 2.5}})");
  CHECK(config.rope_scaling.kind == Kind::kDynamic);
  CHECK(config.rope_scaling.factor == 2.5);
  CHECK(config.rope_scaling.original_context == 300);
  CHECK(config.rope_scaling.attention_factor == 1);
  CHECK(config.context == 750);
  CHECK_ERROR(ReadPatched(R"({"rope_scaling": {"type": "dynamic", "factor": 0.5}})"), "factor",
              "at least 1");
}

TEST_CASE("config: yarn scaling, and what it takes where keys are missing", "[config]") {
  const auto read = [](const char* parameters) {
    json patch = json::parse(parameters);
    patch["rope_type"] = "yarn";
    return ReadPatched(json{{"rope_scaling", patch}});
  };
  const ModelConfig plain = read(R"({"factor": 4})");
  CHECK(plain.rope_scaling.kind == Kind::kYarn);
  CHECK(plain.rope_scaling.factor == 4);
  CHECK(plain.rope_scaling.original_context == 300);
  CHECK(plain.rope_scaling.attention_factor == Approx(0.1 * std::log(4.0) + 1));
  CHECK(plain.rope_scaling.beta_fast == 32);
  CHECK(plain.rope_scaling.beta_slow == 1);
  CHECK(plain.rope_scaling.truncate);
  CHECK(plain.context == 1200);
  const ModelConfig full = read(R"({"factor": 2, "original_max_position_embeddings": 30,
      "attention_factor": 0.75, "beta_fast": 16, "beta_slow": 2, "truncate": false})");
  CHECK(full.rope_scaling.original_context == 30);
  CHECK(full.rope_scaling.attention_factor == 0.75);
  CHECK(full.rope_scaling.beta_fast == 16);
  CHECK(full.rope_scaling.beta_slow == 2);
  CHECK_FALSE(full.rope_scaling.truncate);
  CHECK(full.context == 300);  // max_position_embeddings holds the stretched context already
  const RopeScaling implied = read(R"({"original_max_position_embeddings": 100})").rope_scaling;
  CHECK(implied.factor == 3);
  const RopeScaling scaled =
      read(R"({"factor": 8, "mscale": 1.5, "mscale_all_dim": 0.5})").rope_scaling;
  CHECK(scaled.attention_factor == Approx((0.15 * std::log(8.0) + 1) / (0.05 * std::log(8.0) + 1)));
  CHECK(read(R"({"factor": 8, "mscale": 1.5})").rope_scaling.attention_factor ==
        Approx(0.1 * std::log(8.0) + 1));
  CHECK_ERROR(read("{}"), "\"factor\"");
  CHECK_ERROR(read(R"({"factor": 2, "beta_fast": 1, "beta_slow": 2})"), "at least beta_slow (2)");
  CHECK_ERROR(read(R"({"factor": 2, "attention_factor": -1})"), "\"attention_factor\"");
  CHECK_ERROR(read(R"({"original_max_position_embeddings": 1e-300})"), "at least 1");
}

TEST_CASE("config: the sliding window is Mistral's, 4096 where the key is missing", "[config]") {
  const json mistral = {{"model_type", "mistral"}, {"architectures", {"MistralForCausalLM"}}};
  const auto window = [&](const char* more) {
    json patch = mistral;
    json document = json::parse(kValidConfig);
    document.merge_patch(patch);
    document.update(json::parse(more));  // keeps a null
    return Window(ReadText(document.dump()));
  };
  CHECK(window(R"({"sliding_window": 17})") == 17);
  CHECK(window(R"({"sliding_window": 5000})") == 5000);
  CHECK(window(R"({"sliding_window": null})") == 0);
  CHECK(window("{}") == 4096);
  CHECK(Window(ReadText(kValidConfig)) == 0);
  CHECK(Window(ReadPatched(R"({"sliding_window": 300})")) == 0);  // shorter than no text
}

TEST_CASE("config: rope_parameters in place of rope_theta and rope_scaling", "[config]") {
  const ModelConfig plain =
      ReadPatched(R"({"rope_theta": null, "rope_parameters": {"rope_theta": 123.0,
                      "rope_type": "default", "partial_rotary_factor": 1.0}})");
  CHECK(plain.rope_theta == 123.0);
  CHECK(plain.rope_scaling.kind == Kind::kNone);
  for (const char* key : {"type", "rope_type"}) {
    const ModelConfig linear = ReadPatched(
        json{{"rope_parameters", {{"rope_theta", 123.0}, {key, "linear"}, {"factor", 3.0}}}});
    CHECK(linear.rope_theta == 123.0);
    CHECK(linear.rope_scaling.kind == Kind::kLinear);
    CHECK(linear.rope_scaling.factor == 3.0);
  }
  const ModelConfig theta_alone = ReadPatched(R"({"rope_parameters": {"rope_theta": 123.0}})");
  CHECK(theta_alone.rope_theta == 123.0);
  CHECK(theta_alone.rope_scaling.kind == Kind::kNone);
}

TEST_CASE("config: what would change the numbers is refused by its name", "[config]") {
  const struct {
    const char *patch, *named;
  } refusals[] = {
      {R"({"model_type": "gemma"})", "model_type \"gemma\""},
      {R"({"architectures": ["LlamaForSequenceClassification"]})", "LlamaForSequenceClassific"},
      {R"({"architectures": []})", "architectures []"},
      {R"({"architectures": ["LlamaForCausalLM", "MistralForCausalLM"]})", "architectures"},
      {R"({"architectures": "LlamaForCausalLM"})", "architectures"},
      {R"({"hidden_act": "gelu"})", "hidden_act \"gelu\""},
      {R"({"quantization_config": {"bits": 4}})", "quantization_config"},
      {R"({"partial_rotary_factor": 0.5})", "partial_rotary_factor"},
      {R"({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}})",
       "partial_rotary_factor"},
      {R"({"rope_scaling": {"type": "su"}})", "type \"su\""},
      {R"({"rope_scaling": {"rope_type": "mrope"}})", "rope_type \"mrope\""},
      {R"({"rope_parameters": {"rope_type": "proportional"}})", "rope_type \"proportional\""},
      {R"({"rope_parameters": {"type": "su"}})", "type \"su\""},
      {R"({"final_logit_softcapping": 30.0})", "final_logit_softcapping"},
      {R"({"use_bidirectional_attention": true})", "\"use_bidirectional_attention\": true"},
      {R"({"layer_types": ["full_attention", "linear_attention", "full_attention"]})",
       "layer_types[1] \"linear_attention\""},
      {R"({"sliding_window": 299})", "a sliding_window of 299 with model_type \"llama\""},
      {R"({"head_dim": 7})", "odd head_dim (7)"},
  };
  for (const auto& [patch, named] : refusals) {
    INFO(patch);
    CHECK_ERROR(ReadPatched(patch), "config.json", named, "is not supported");
  }
}

TEST_CASE("config: counts are whole numbers of a plausible size", "[config]") {
  const char* const required[] = {"hidden_size", "intermediate_size",   "num_hidden_layers",
                                  "vocab_size",  "num_attention_heads", "max_position_embeddings"};
  std::vector<std::string> counts(std::begin(required), std::end(required));
  for (const char* key : {"num_key_value_heads", "head_dim", "sliding_window"}) {
    counts.emplace_back(key);
  }
  for (const std::string& key : counts) {
    for (const char* value : {"0", "-1", "12.0", "1.5", "\"12\"", "true", "[12]", "{}", "1e3",
                              "100000000000", "18446744073709551615", "18446744073709551616"}) {
      INFO(key << ": " << value);
      json document = json::parse(kValidConfig);
      document[key] = json::parse(value);
      CHECK_ERROR(ReadText(document.dump()), "config.json", "whole number", "\"" + key + "\"");
    }
  }
  for (const std::string key : required) {
    INFO(key);
    CHECK_ERROR(ReadPatched(json{{key, nullptr}}), "config.json", "\"" + key + "\"",
                "found nothing");
  }
}

TEST_CASE("config: positive numbers", "[config]") {
  for (const std::string key : {"rms_norm_eps", "rope_theta", "partial_rotary_factor"}) {
    for (const char* value : {"0", "0.0", "-1e-5", "\"1e-5\"", "true", "[1]", "{}"}) {
      INFO(key << ": " << value);
      json document = json::parse(kValidConfig);
      document[key] = json::parse(value);
      CHECK_ERROR(ReadText(document.dump()), "config.json", "positive number", "\"" + key + "\"");
    }
  }
  CHECK_ERROR(ReadPatched(R"({"rms_norm_eps": null})"), "rms_norm_eps", "found nothing");
  CHECK_ERROR(ReadExtended(R"("partial_rotary_factor": 1e999)"), "config.json", "1e999");
}

TEST_CASE("config: other values of the wrong kind", "[config]") {
  const struct {
    const char *patch, *key;
  } wrong[] = {
      {R"({"model_type": null})", "\"model_type\""},
      {R"({"model_type": 1})", "\"model_type\""},
      {R"({"hidden_act": 1})", "\"hidden_act\""},
      {R"({"attention_bias": 1})", "\"attention_bias\""},
      {R"({"mlp_bias": "true"})", "\"mlp_bias\""},
      {R"({"tie_word_embeddings": [true]})", "\"tie_word_embeddings\""},
      {R"({"rope_scaling": "linear"})", "\"rope_scaling\""},
      {R"({"rope_scaling": [1]})", "\"rope_scaling\""},
      {R"({"rope_scaling": {"factor": 2.0}})", "\"type\""},
      {R"({"rope_scaling": {"type": 1}})", "\"type\""},
      {R"({"rope_scaling": {"type": "linear"}})", "\"factor\""},
      {R"({"rope_scaling": {"type": "linear", "factor": -2.0}})", "\"factor\""},
      {R"({"rope_parameters": 1})", "\"rope_parameters\""},
      {R"({"rope_parameters": {"rope_theta": 0}})", "\"rope_theta\""},
      {R"({"bos_token_id": 500})", "\"bos_token_id\""},
      {R"({"bos_token_id": -1})", "\"bos_token_id\""},
      {R"({"bos_token_id": [1, 2]})", "\"bos_token_id\""},
      {R"({"bos_token_id": 1.0})", "\"bos_token_id\""},
      {R"({"bos_token_id": 4294967297})", "\"bos_token_id\""},
  };
  for (const auto& [patch, key] : wrong) {
    INFO(patch);
    CHECK_ERROR(ReadPatched(patch), "config.json", "expected", key);
  }
}

TEST_CASE("config: each part of llama3's scaling is needed", "[config]") {
  const json valid = json::parse(R"({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 128})");
  REQUIRE(ReadPatched(json{{"rope_scaling", valid}}).rope_scaling.kind == Kind::kLlama3);
  for (const std::string key :
       {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}) {
    INFO(key);
    json broken = valid;
    broken[key] = 0;
    CHECK_ERROR(ReadPatched(json{{"rope_scaling", broken}}), "rope_scaling", "\"" + key + "\"");
    broken.erase(key);
    CHECK_ERROR(ReadPatched(json{{"rope_scaling", broken}}), "rope_scaling", "\"" + key + "\"");
  }
  json reversed = valid;
  reversed["high_freq_factor"] = 1.0;
  CHECK_ERROR(ReadPatched(json{{"rope_scaling", reversed}}), "more than low_freq_factor (1)");
}

TEST_CASE("config: heads must divide", "[config]") {
  CHECK_ERROR(ReadPatched(R"({"num_key_value_heads": 5})"), "num_key_value_heads",
              "divisor of num_attention_heads (12)");
  CHECK_ERROR(ReadPatched(R"({"num_key_value_heads": 24})"), "num_key_value_heads");
  CHECK_ERROR(ReadPatched(R"({"head_dim": null, "hidden_size": 100})"), "num_attention_heads",
              "divisor of hidden_size (100)");
  // With a head_dim, the heads need not fill the hidden size.
  CHECK(ReadPatched(R"({"hidden_size": 100})").head_dim == 6);
}

TEST_CASE("config: a pointer to the file and a page in its place are named", "[config]") {
  CHECK_ERROR(ReadText("version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 5\n"),
              "config.json", "expected JSON, found a Git LFS pointer", "git lfs pull");
  CHECK_ERROR(ReadText("\n<!DOCTYPE html>\n<html>"), "found a web page");
}

TEST_CASE("config: its hash is the file's", "[config]") {
  CHECK(ReadText(kValidConfig).sha256 == Sha256Hex(std::string_view(kValidConfig)));
}

TEST_CASE("config: files that are no config", "[config]") {
  const TempDir dir;
  CHECK_ERROR(ReadConfig(dir / "config.json"), "config.json");
  CHECK_ERROR(ReadText(""), "config.json", "invalid JSON");
  CHECK_ERROR(ReadText("hidden_size: 12"), "config.json", "invalid JSON");
  CHECK_ERROR(ReadText("[]"), "config.json", "expected an object, found []");
  CHECK_ERROR(ReadText("{}"), "config.json", "\"model_type\"", "found nothing");
  CHECK_ERROR(ReadExtended(R"("hidden_size": 96)"), "duplicate key", "hidden_size");
}

TEST_CASE("config: the bundled models", "[config]") {
  const ModelConfig large = ReadConfig(testing::ReferenceModel("wikilm-28m") / "config.json");
  CHECK(large.Parameters() == 27'795'968);
  CHECK(large.context == 2048);
  CHECK(large.bos_id == 1u);
  CHECK(ReadConfig(testing::ReferenceModel("wikilm-2m") / "config.json").Parameters() == 1'836'160);
}

}  // namespace
}  // namespace quantref
