// What config.json says, family by family, checked.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/io/json_file.h"
#include "harness/model/config_reader.h"

namespace quantref {
namespace {

using Json = nlohmann::json;

// Which blocks of a model slide: none (the key says nothing), all, those from max_window_layers on
// where use_sliding_window is set, or all but every sliding_window_pattern-th.
enum class Windows { kNone, kAll, kFromLayer, kPattern };

// How a family's config.json says what it says.
struct Keys {
  std::string_view model_type;
  std::vector<std::string_view> architectures;
  Windows windows = Windows::kNone;
  bool local_rope = false;  // blocks that slide rotate by a base of their own
  bool phi_rope = false;    // longrope by other names, and a part of a head may stay as it is
  const char* intermediate = "intermediate_size";
  const char* activation = "hidden_act";
  // What transformers takes where a key is missing, and a file may therefore leave out.
  const char* defaults = "{}";
};

const std::vector<Keys>& AllKeys() {
  static const std::vector<Keys> all = {
      {.model_type = "llama", .architectures = {"LlamaForCausalLM"}},
      {.model_type = "mistral",
       .architectures = {"MistralForCausalLM"},
       .windows = Windows::kAll,
       .defaults = R"({"sliding_window": 4096})"},
      {.model_type = "qwen2",
       .architectures = {"Qwen2ForCausalLM"},
       .windows = Windows::kFromLayer,
       .defaults = R"({"sliding_window": 4096})"},
      {.model_type = "qwen3",
       .architectures = {"Qwen3ForCausalLM"},
       .windows = Windows::kFromLayer,
       .defaults = R"({"head_dim": 128, "sliding_window": 4096})"},
      {.model_type = "phi3",
       .architectures = {"Phi3ForCausalLM"},
       .windows = Windows::kAll,
       .phi_rope = true},
      {.model_type = "gemma2",
       .architectures = {"Gemma2ForCausalLM"},
       .windows = Windows::kPattern,
       .activation = "hidden_activation",
       .defaults =
           R"({"tie_word_embeddings": true, "head_dim": 256, "query_pre_attn_scalar": 256,
               "hidden_activation": "gelu_pytorch_tanh", "sliding_window": 4096,
               "sliding_window_pattern": 2, "final_logit_softcapping": 30.0,
               "attn_logit_softcapping": 50.0, "rms_norm_eps": 1e-6, "bos_token_id": 2,
               "vocab_size": 256000, "num_attention_heads": 8, "num_key_value_heads": 4,
               "max_position_embeddings": 8192})"},
      {.model_type = "gemma3_text",
       .architectures = {"Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"},
       .windows = Windows::kPattern,
       .local_rope = true,
       .activation = "hidden_activation",
       .defaults =
           R"({"tie_word_embeddings": true, "head_dim": 256, "query_pre_attn_scalar": 256,
               "hidden_activation": "gelu_pytorch_tanh", "sliding_window": 4096,
               "sliding_window_pattern": 6, "rms_norm_eps": 1e-6, "rope_theta": 1e6,
               "bos_token_id": 2, "vocab_size": 262208, "num_attention_heads": 8,
               "num_key_value_heads": 4, "max_position_embeddings": 131072})"},
      {.model_type = "opt",
       .architectures = {"OPTForCausalLM"},
       .intermediate = "ffn_dim",
       .activation = "activation_function",
       .defaults =
           R"({"tie_word_embeddings": true, "activation_function": "relu", "rms_norm_eps": 1e-5})"},
  };
  return all;
}

const Keys& KeysOf(const Family& family) {
  const std::vector<Keys>& all = AllKeys();
  const auto found = std::find_if(all.begin(), all.end(), [&](const Keys& keys) {
    return keys.model_type == family.model_type;
  });
  QR_CHECK(found != all.end());
  return *found;
}

// The names under which an activation goes.
std::vector<std::string_view> NamesOf(Family::Activation activation) {
  using Activation = Family::Activation;
  if (activation == Activation::kSilu) return {"silu", "swish"};
  if (activation == Activation::kRelu) return {"relu"};
  return {"gelu_pytorch_tanh"};
}

bool IsAmong(const std::vector<std::string_view>& names, const Json& value) {
  return value.is_string() &&
         std::find(names.begin(), names.end(), value.get<std::string>()) != names.end();
}

void RefuseUnless(const JsonFields& json, const char* key, bool expected) {
  if (json.FlagOr(key, expected) != expected)
    Unsupported(json, fmt::format("\"{}\": {}", key, !expected));
}

void RefuseUnsupported(const JsonFields& json, const Family& family, const Keys& keys) {
  if (json.Has("quantization_config")) {
    Unsupported(
        json, "a checkpoint that is already quantized (quantization_config)",
        "take the model that it was made from; as a candidate (--candidate LABEL=PATH) it is read");
  }
  if (json.Has("architectures")) {
    const Json& names = json["architectures"];
    const bool ok = names.is_array() && names.size() == 1 && IsAmong(keys.architectures, names[0]);
    if (!ok) Unsupported(json, "architectures " + names.dump());
  }
  const std::vector<std::string_view> names = NamesOf(family.activation);
  if (json.Has(keys.activation)) {
    const std::string activation = json.Text(keys.activation);
    if (std::find(names.begin(), names.end(), activation) == names.end())
      Unsupported(json, fmt::format("{} \"{}\"", keys.activation, activation));
  }
  RefuseUnless(json, "use_bidirectional_attention", false);
  RefuseUnless(json, "lm_head_bias", false);
  for (const char* key : {"attn_logit_softcapping", "final_logit_softcapping"}) {
    if (!family.capped && json.Has(key)) Unsupported(json, key);
  }
}

// OPT's variants, of which some models have one.
void RefuseVariants(const JsonFields& json, const ModelConfig& config) {
  RefuseUnless(json, "do_layer_norm_before", true);
  RefuseUnless(json, "enable_bias", true);
  RefuseUnless(json, "layer_norm_elementwise_affine", true);
  RefuseUnless(json, "_remove_final_layer_norm", false);
  if (json.Has("word_embed_proj_dim") &&
      json.Count("word_embed_proj_dim", 1, 1 << 17) != config.hidden) {
    Unsupported(json, fmt::format("a word_embed_proj_dim of {} with a hidden_size of {}",
                                  json["word_embed_proj_dim"].dump(), config.hidden));
  }
}

size_t CountOr(const JsonFields& json, const char* key, size_t otherwise) {
  return json.Has(key) ? json.Count(key, 1, kMostContext) : otherwise;
}

// Which blocks slide, by the family's rule.
std::vector<bool> SlidingByRule(const JsonFields& json, Windows windows, size_t layers) {
  std::vector<bool> slides(layers, windows == Windows::kAll);
  if (windows == Windows::kFromLayer && json.FlagOr("use_sliding_window", false)) {
    const size_t first = json.Has("max_window_layers") && json["max_window_layers"] == 0
                             ? 0
                             : CountOr(json, "max_window_layers", 28);
    for (size_t i = first; i < layers; ++i) slides[i] = true;
  }
  if (windows == Windows::kPattern) {
    const char* const key =
        json.Has("_sliding_window_pattern") ? "_sliding_window_pattern" : "sliding_window_pattern";
    const size_t pattern = json.Count(key, 1, kMostContext);
    for (size_t i = 0; i < layers; ++i) slides[i] = (i + 1) % pattern != 0;
  }
  return slides;
}

// Whether there is a window for blocks to slide by.
bool HasWindow(const JsonFields& json, Windows windows) {
  const bool used = windows != Windows::kFromLayer || json.FlagOr("use_sliding_window", false);
  return used && json.Has("sliding_window");
}

// As layer_types lists them, where it is there.
std::vector<bool> SlidingLayers(const JsonFields& json, Windows windows, size_t layers) {
  const std::vector<bool> by_rule = SlidingByRule(json, windows, layers);
  if (!json.Has("layer_types")) return by_rule;
  const Json& types = json["layer_types"];
  if (!types.is_array() || types.size() != layers)
    json.Fail("layer_types", fmt::format("a list of {} names", layers));
  std::vector<bool> slides(layers);
  for (size_t i = 0; i < layers; ++i) {
    slides[i] = types[i] == "sliding_attention";
    if (!slides[i] && types[i] != "full_attention")
      Unsupported(json, fmt::format("layer_types[{}] {}", i, types[i].dump()));
  }
  const bool decides = windows == Windows::kFromLayer || windows == Windows::kPattern;
  if (!decides && slides != by_rule && json.Has("sliding_window"))
    Unsupported(json, "layer_types beside sliding_window");
  const bool any = std::find(slides.begin(), slides.end(), true) != slides.end();
  if (decides && any && !HasWindow(json, windows)) {
    Unsupported(json, "sliding_attention in layer_types without a window",
                "transformers refuses it, too: set sliding_window and, where the family has "
                "it, use_sliding_window, or layer_types to full_attention");
  }
  return slides;
}

void ReadWindows(const JsonFields& json, const Keys& keys, ModelConfig& config) {
  const size_t window = CountOr(json, "sliding_window", 0);
  if (keys.windows == Windows::kNone && window != 0 && window < config.context) {
    Unsupported(
        json,
        fmt::format("a sliding_window of {} with model_type \"{}\"", window, config.model_type),
        "transformers passes over it there: set it to null for that, or the type to mistral");
  }
  const std::vector<bool> slides = SlidingLayers(json, keys.windows, config.layers.size());
  for (size_t i = 0; i < slides.size(); ++i) {
    LayerConfig& layer = config.layers[i];
    layer.sliding_window = slides[i] ? window : 0;
    layer.local_rope = slides[i] && keys.local_rope;
  }
}

void ReadHeads(const JsonFields& json, ModelConfig& config) {
  config.heads = json.Count("num_attention_heads", 1, 1 << 12);
  config.kv_heads = json.Has("num_key_value_heads") ? json.Count("num_key_value_heads", 1, 1 << 12)
                                                    : config.heads;
  if (config.heads % config.kv_heads != 0) {
    json.Fail("num_key_value_heads",
              fmt::format("a divisor of num_attention_heads ({})", config.heads));
  }
  if (json.Has("head_dim")) {
    config.head_dim = json.Count("head_dim", 1, 1 << 12);
  } else if (config.hidden % config.heads == 0) {
    config.head_dim = config.hidden / config.heads;
  } else {
    json.Fail("num_attention_heads", fmt::format("a divisor of hidden_size ({})", config.hidden));
  }
  if (config.head_dim % 2 != 0 && !config.family->learned_positions)
    Unsupported(json, fmt::format("an odd head_dim ({})", config.head_dim));
}

// What only families with capped scores have.
void ReadScores(const JsonFields& json, ModelConfig& config) {
  if (!config.family->capped) return;
  config.attention_scale = 1 / std::sqrt(json.Positive("query_pre_attn_scalar"));
  config.attention_softcap = json.PositiveOr("attn_logit_softcapping", 0);
  config.final_softcap = json.PositiveOr("final_logit_softcapping", 0);
}

void ReadBos(const JsonFields& json, ModelConfig& config) {
  if (!json.Has("bos_token_id")) return;
  const Json& bos = json["bos_token_id"];
  if (!bos.is_number_unsigned() || bos.get<uint64_t>() >= config.vocab) {
    json.Fail("bos_token_id", fmt::format("a token id below vocab_size ({})", config.vocab));
  }
  config.bos_id = bos.get<uint32_t>();
}

ModelConfig ReadShape(const JsonFields& json, const Family& family, const Keys& keys) {
  ModelConfig config;
  config.family = &family;
  config.model_type = json.Text("model_type");
  RefuseUnsupported(json, family, keys);
  config.hidden = json.Count("hidden_size", 1, 1 << 17);
  config.intermediate = json.Count(keys.intermediate, 1, 1 << 20);
  config.layers.resize(json.Count("num_hidden_layers", 1, 1 << 12));
  config.vocab = json.Count("vocab_size", 1, 1 << 22);
  config.context = json.Count("max_position_embeddings", 1, kMostContext);
  ReadHeads(json, config);
  config.rms_eps = json.Positive("rms_norm_eps");
  if (family.learned_positions) {
    RefuseVariants(json, config);
  } else {
    ReadRope(json, keys.phi_rope, config);
  }
  config.tied_head = json.FlagOr("tie_word_embeddings", false);
  config.context = StretchedContext(config);
  const bool attention_bias = json.FlagOr("attention_bias", false);
  for (LayerConfig& layer : config.layers)
    layer.bias = BiasesOf(family, attention_bias, json.FlagOr("mlp_bias", false));
  ReadWindows(json, keys, config);
  ReadScores(json, config);
  ReadBos(json, config);
  return config;
}

// The names that a model goes by whose text part is another's: a model that reads pictures, too.
std::string_view TextType(std::string_view model_type) {
  return model_type == "gemma3" ? "gemma3_text" : model_type;
}

}  // namespace

void Unsupported(const JsonFields& json, const std::string& feature, const std::string& hint) {
  throw Error(feature + " is not supported", json.where(), hint);
}

ModelConfig ReadConfig(const std::filesystem::path& path, InputFile* file, bool quantized) {
  const FileContents read = ReadInput(path, kMaxJsonFileBytes);
  if (file != nullptr) *file = read.file;
  Json document = ParseJson(read.bytes, path.string());
  if (quantized && document.is_object()) {
    constexpr char kKey[] = "quantization_config";
    document.erase(kKey);
    const auto text = document.find("text_config");
    if (text != document.end() && text->is_object()) text->erase(kKey);
  }
  ModelConfig config = ConfigFromJson(document, path.string());
  config.sha256 = read.file.sha256();
  return config;
}

ModelConfig ConfigFromJson(const nlohmann::json& document, const std::string& where) {
  const JsonFields file(document, where);
  const std::string model_type = file.Text("model_type");
  const Family* const family = FindFamily(TextType(model_type));
  if (family == nullptr) Unsupported(file, "model_type \"" + model_type + "\"");
  const Keys& keys = KeysOf(*family);
  Json whole = ParseJson(keys.defaults, model_type + ": defaults");
  if (!file.Has("text_config") || model_type == family->model_type) {
    whole.update(document);
    return ReadShape({whole, where}, *family, keys);
  }
  RefuseUnsupported(file, *family, keys);
  file.Object("text_config");  // or an Error
  whole.update(document["text_config"]);
  whole["model_type"] = model_type;
  return ReadShape({whole, where + ", text_config"}, *family, keys);
}

}  // namespace quantref
