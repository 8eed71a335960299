#include "harness/model/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>
#include <vector>

#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/io/json_file.h"
#include "harness/model/config_reader.h"
#include "harness/model/layout.h"

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
  const char* intermediate = "intermediate_size";
  const char* activation = "hidden_act";
  // What transformers takes where a key is missing, and a file may therefore leave out.
  const char* defaults = "{}";
};

const std::vector<Keys>& AllKeys() {
  static const std::vector<Keys> all = {
      {"llama", {"LlamaForCausalLM"}},
      {"mistral",
       {"MistralForCausalLM"},
       Windows::kAll,
       "intermediate_size",
       "hidden_act",
       R"({"sliding_window": 4096})"},
      {"qwen2", {"Qwen2ForCausalLM"}, Windows::kFromLayer},
      {"qwen3",
       {"Qwen3ForCausalLM"},
       Windows::kFromLayer,
       "intermediate_size",
       "hidden_act",
       R"({"head_dim": 128})"},
      {"phi3", {"Phi3ForCausalLM"}, Windows::kAll},
      {"gemma2",
       {"Gemma2ForCausalLM"},
       Windows::kPattern,
       "intermediate_size",
       "hidden_activation",
       R"({"tie_word_embeddings": true, "head_dim": 256, "query_pre_attn_scalar": 256,
           "hidden_activation": "gelu_pytorch_tanh", "sliding_window": 4096,
           "sliding_window_pattern": 2, "final_logit_softcapping": 30.0,
           "attn_logit_softcapping": 50.0, "rms_norm_eps": 1e-6, "bos_token_id": 2,
           "vocab_size": 256000, "num_attention_heads": 8, "num_key_value_heads": 4,
           "max_position_embeddings": 8192})"},
      {"gemma3_text",
       {"Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"},
       Windows::kPattern,
       "intermediate_size",
       "hidden_activation",
       R"({"tie_word_embeddings": true, "head_dim": 256, "query_pre_attn_scalar": 256,
           "hidden_activation": "gelu_pytorch_tanh", "sliding_window": 4096,
           "sliding_window_pattern": 6, "rms_norm_eps": 1e-6, "rope_theta": 1e6,
           "bos_token_id": 2, "vocab_size": 262208, "num_attention_heads": 8,
           "num_key_value_heads": 4, "max_position_embeddings": 131072})"},
      {"opt",
       {"OPTForCausalLM"},
       Windows::kNone,
       "ffn_dim",
       "activation_function",
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

void RefuseUnless(const ConfigReader& json, const char* key, bool expected) {
  if (json.Bool(key, expected) != expected)
    json.Unsupported(fmt::format("\"{}\": {}", key, !expected));
}

void RefuseUnsupported(const ConfigReader& json, const Family& family, const Keys& keys) {
  if (json.Has("quantization_config"))
    json.Unsupported("a checkpoint that is already quantized (quantization_config)");
  if (json.Has("architectures")) {
    const Json& names = json["architectures"];
    const bool ok = names.is_array() && names.size() == 1 && IsAmong(keys.architectures, names[0]);
    if (!ok) json.Unsupported("architectures " + names.dump());
  }
  const std::vector<std::string_view> names = NamesOf(family.activation);
  if (json.Has(keys.activation)) {
    const std::string activation = json.String(keys.activation);
    if (std::find(names.begin(), names.end(), activation) == names.end())
      json.Unsupported(fmt::format("{} \"{}\"", keys.activation, activation));
  }
  RefuseUnless(json, "use_bidirectional_attention", false);
  RefuseUnless(json, "lm_head_bias", false);
  for (const char* key : {"attn_logit_softcapping", "final_logit_softcapping"}) {
    if (!family.capped && json.Has(key)) json.Unsupported(key);
  }
}

// OPT's variants, of which some models have one.
void RefuseVariants(const ConfigReader& json, const ModelConfig& config) {
  RefuseUnless(json, "do_layer_norm_before", true);
  RefuseUnless(json, "enable_bias", true);
  RefuseUnless(json, "layer_norm_elementwise_affine", true);
  RefuseUnless(json, "_remove_final_layer_norm", false);
  if (json.Has("word_embed_proj_dim") &&
      json.Count("word_embed_proj_dim", 1 << 17) != config.hidden) {
    json.Unsupported(fmt::format("a word_embed_proj_dim of {} with a hidden_size of {}",
                                 json["word_embed_proj_dim"].dump(), config.hidden));
  }
}

size_t CountOr(const ConfigReader& json, const char* key, size_t otherwise) {
  return json.Has(key) ? json.Count(key, kMostContext) : otherwise;
}

// Which blocks slide, by the family's rule.
std::vector<bool> SlidingByRule(const ConfigReader& json, Windows windows, size_t layers) {
  std::vector<bool> slides(layers, windows == Windows::kAll);
  if (windows == Windows::kFromLayer && json.Bool("use_sliding_window", false)) {
    const size_t first = json.Has("max_window_layers") && json["max_window_layers"] == 0
                             ? 0
                             : CountOr(json, "max_window_layers", 28);
    for (size_t i = first; i < layers; ++i) slides[i] = true;
  }
  if (windows == Windows::kPattern) {
    const char* const key =
        json.Has("_sliding_window_pattern") ? "_sliding_window_pattern" : "sliding_window_pattern";
    const size_t pattern = json.Count(key, kMostContext);
    for (size_t i = 0; i < layers; ++i) slides[i] = (i + 1) % pattern != 0;
  }
  return slides;
}

// As layer_types lists them, where it is there.
std::vector<bool> SlidingLayers(const ConfigReader& json, Windows windows, size_t layers) {
  const std::vector<bool> by_rule = SlidingByRule(json, windows, layers);
  if (!json.Has("layer_types")) return by_rule;
  const Json& types = json["layer_types"];
  if (!types.is_array() || types.size() != layers)
    json.Fail("layer_types", fmt::format("a list of {} names", layers), types);
  std::vector<bool> slides(layers);
  for (size_t i = 0; i < layers; ++i) {
    slides[i] = types[i] == "sliding_attention";
    if (!slides[i] && types[i] != "full_attention")
      json.Unsupported(fmt::format("layer_types[{}] {}", i, types[i].dump()));
  }
  const bool decides = windows == Windows::kFromLayer || windows == Windows::kPattern;
  if (!decides && slides != by_rule && json.Has("sliding_window"))
    json.Unsupported("layer_types beside sliding_window");
  return slides;
}

void ReadWindows(const ConfigReader& json, Windows windows, ModelConfig& config) {
  const size_t window = CountOr(json, "sliding_window", 0);
  if (windows == Windows::kNone && window != 0 && window < config.context) {
    json.Unsupported(
        fmt::format("a sliding_window of {} with model_type \"{}\"", window, config.model_type),
        "transformers passes over it there: set it to null for that, or the type to mistral");
  }
  const std::vector<bool> slides = SlidingLayers(json, windows, config.layers.size());
  for (size_t i = 0; i < slides.size(); ++i) {
    LayerConfig& layer = config.layers[i];
    layer.sliding_window = slides[i] ? window : 0;
    layer.local_rope = slides[i] && config.family->model_type == "gemma3_text";
  }
}

void ReadHeads(const ConfigReader& json, ModelConfig& config) {
  config.heads = json.Count("num_attention_heads", 1 << 12);
  config.kv_heads =
      json.Has("num_key_value_heads") ? json.Count("num_key_value_heads", 1 << 12) : config.heads;
  if (config.heads % config.kv_heads != 0) {
    json.Fail("num_key_value_heads",
              fmt::format("a divisor of num_attention_heads ({})", config.heads),
              json["num_key_value_heads"]);
  }
  if (json.Has("head_dim")) {
    config.head_dim = json.Count("head_dim", 1 << 12);
  } else if (config.hidden % config.heads == 0) {
    config.head_dim = config.hidden / config.heads;
  } else {
    json.Fail("num_attention_heads", fmt::format("a divisor of hidden_size ({})", config.hidden),
              json["num_attention_heads"]);
  }
  if (config.head_dim % 2 != 0 && !config.family->learned_positions)
    json.Unsupported(fmt::format("an odd head_dim ({})", config.head_dim));
}

// What only families with capped scores have.
void ReadScores(const ConfigReader& json, ModelConfig& config) {
  if (!config.family->capped) return;
  config.attention_scale = 1 / std::sqrt(json.Positive("query_pre_attn_scalar"));
  config.attention_softcap = json.PositiveOr("attn_logit_softcapping", 0);
  config.final_softcap = json.PositiveOr("final_logit_softcapping", 0);
}

void ReadBos(const ConfigReader& json, ModelConfig& config) {
  if (!json.Has("bos_token_id")) return;
  const Json& bos = json["bos_token_id"];
  if (!bos.is_number_unsigned() || bos.get<uint64_t>() >= config.vocab) {
    json.Fail("bos_token_id", fmt::format("a token id below vocab_size ({})", config.vocab), bos);
  }
  config.bos_id = bos.get<uint32_t>();
}

ModelConfig ReadShape(const ConfigReader& json, const Family& family, const Keys& keys) {
  ModelConfig config;
  config.family = &family;
  config.model_type = json.String("model_type");
  RefuseUnsupported(json, family, keys);
  config.hidden = json.Count("hidden_size", 1 << 17);
  config.intermediate = json.Count(keys.intermediate, 1 << 20);
  config.layers.resize(json.Count("num_hidden_layers", 1 << 12));
  config.vocab = json.Count("vocab_size", 1 << 22);
  config.context = json.Count("max_position_embeddings", kMostContext);
  ReadHeads(json, config);
  config.rms_eps = json.Positive("rms_norm_eps");
  if (family.learned_positions) {
    RefuseVariants(json, config);
  } else {
    ReadRope(json, family.model_type == "phi3", config);
  }
  config.tied_head = json.Bool("tie_word_embeddings", false);
  config.context = StretchedContext(config);
  const bool attention_bias = json.Bool("attention_bias", false);
  for (LayerConfig& layer : config.layers)
    layer.bias = BiasesOf(family, attention_bias, json.Bool("mlp_bias", false));
  ReadWindows(json, keys.windows, config);
  ReadScores(json, config);
  ReadBos(json, config);
  return config;
}

// The names that a model goes by whose text part is another's: a model that reads pictures, too.
std::string_view TextType(std::string_view model_type) {
  return model_type == "gemma3" ? "gemma3_text" : model_type;
}

}  // namespace

ModelConfig ReadConfig(const std::filesystem::path& path, InputFile* file) {
  const FileContents read = ReadInput(path, kMaxJsonFileBytes);
  if (file != nullptr) *file = read.file;
  ModelConfig config = ConfigFromJson(ParseJson(read.bytes, path.string()), path.string());
  config.sha256 = read.file.sha256();
  return config;
}

ModelConfig ConfigFromJson(const nlohmann::json& document, const std::string& where) {
  if (!document.is_object()) throw Error("expected a JSON object", where);
  const ConfigReader file(document, where);
  const std::string model_type = file.String("model_type");
  const Family* const family = FindFamily(TextType(model_type));
  if (family == nullptr) file.Unsupported("model_type \"" + model_type + "\"");
  const Keys& keys = KeysOf(*family);
  Json whole = Json::parse(keys.defaults);
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

std::array<bool, kLinears> BiasesOf(const Family& family, bool attention, bool mlp) {
  std::array<bool, kLinears> bias{};
  if (family.biases == Family::Biases::kAll) bias.fill(true);
  if (family.biases == Family::Biases::kQkv) bias[kQ] = bias[kK] = bias[kV] = true;
  if (family.biases != Family::Biases::kAsked) return bias;
  for (const LinearIndex linear : {kQ, kK, kV, kO}) bias[linear] = attention;
  for (const LinearIndex linear : {kGate, kUp, kDown}) bias[linear] = mlp;
  return bias;
}

bool ModelConfig::HasLocalRope() const {
  return std::any_of(layers.begin(), layers.end(),
                     [](const LayerConfig& layer) { return layer.local_rope; });
}

float ModelConfig::EmbeddingScale() const {
  return family->scaled_embedding ? std::sqrt(static_cast<float>(hidden)) : 1.0f;
}

double ModelConfig::ForwardFlops(size_t tokens, size_t scored) const {
  const double n = static_cast<double>(tokens), q = static_cast<double>(heads * head_dim);
  double products = static_cast<double>(scored) * static_cast<double>(hidden * vocab);
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    const size_t sliding = layers[layer].sliding_window;
    const double window = sliding == 0 ? n : std::min(n, static_cast<double>(sliding));
    const double keys = window * (window + 1) / 2 + (n - window) * window;  // of all queries
    products += n * static_cast<double>(LayoutOf(*this, layer).Weights());
    products += 2 * q * keys;  // scores and values
  }
  return 2 * products;
}

size_t ModelConfig::Parameters() const {
  const bool norms_have_biases = family->norm == Family::Norm::kLayer;
  size_t count = (tied_head ? 1 : 2) * vocab * hidden + (norms_have_biases ? 2 : 1) * hidden;
  if (family->learned_positions) count += (context + kPositionOffset) * hidden;
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    const BlockLayout layout = LayoutOf(*this, layer);
    count += layout.Weights();
    for (const LinearRow& row : layout.linears) count += row.bias ? row.rows : 0;
    for (const NormRow& norm : layout.norms) count += (norm.bias ? 2 : 1) * norm.size;
  }
  return count;
}

}  // namespace quantref
