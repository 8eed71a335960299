#include "harness/model/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "harness/base/error.h"
#include "harness/io/json_file.h"
#include "harness/model/layout.h"

namespace quantref {
namespace {

using Json = nlohmann::json;

constexpr size_t kMostContext = 1 << 24;

// Typed access to one JSON object, with errors that name the file and the key.
class Reader {
 public:
  Reader(const Json& object, std::string where) : object_(object), where_(std::move(where)) {}

  bool Has(const char* key) const { return object_.contains(key) && !object_[key].is_null(); }

  size_t Count(const char* key, size_t largest) const {
    const Json& value = Required(key, "a whole number");
    if (!value.is_number_unsigned() || value.get<uint64_t>() == 0 ||
        value.get<uint64_t>() > largest) {
      Fail(key, fmt::format("a whole number from 1 to {}", largest), value);
    }
    return value.get<size_t>();
  }
  double Positive(const char* key) const {
    const Json& value = Required(key, "a positive number");
    if (!value.is_number() || !(value.get<double>() > 0) || !std::isfinite(value.get<double>())) {
      Fail(key, "a positive number", value);
    }
    return value.get<double>();
  }
  bool Bool(const char* key, bool otherwise) const {
    if (!Has(key)) return otherwise;
    if (!object_[key].is_boolean()) Fail(key, "true or false", object_[key]);
    return object_[key].get<bool>();
  }
  std::string String(const char* key) const {
    const Json& value = Required(key, "a string");
    if (!value.is_string()) Fail(key, "a string", value);
    return value.get<std::string>();
  }
  Reader Object(const char* key) const {
    const Json& value = Required(key, "an object");
    if (!value.is_object()) Fail(key, "an object", value);
    return {value, fmt::format("{}, {}", where_, key)};
  }
  const Json& operator[](const char* key) const { return object_[key]; }

  [[noreturn]] void Fail(const char* key, const std::string& expected, const Json& found) const {
    throw Error(
        fmt::format("expected {} for \"{}\", found {}", expected, key, found.dump().substr(0, 80)),
        where_);
  }
  [[noreturn]] void Unsupported(
      const std::string& feature,
      const char* hint =
          "LLaMA-family models with RMSNorm, rotary embeddings and a SiLU-gated MLP are") const {
    throw Error(fmt::format("{} is not supported", feature), where_, hint);
  }

 private:
  const Json& Required(const char* key, const char* expected) const {
    if (!Has(key))
      throw Error(fmt::format("expected {} for \"{}\", found nothing", expected, key), where_);
    return object_[key];
  }

  const Json& object_;
  std::string where_;
};

void RefusePartialRotary(const Reader& json) {
  if (json.Has("partial_rotary_factor") && json.Positive("partial_rotary_factor") != 1.0) {
    json.Unsupported("partial_rotary_factor other than 1");
  }
}

void RefuseUnsupported(const Reader& json) {
  if (json.Has("quantization_config"))
    json.Unsupported("a checkpoint that is already quantized (quantization_config)");
  if (json.Has("architectures")) {
    const Json& names = json["architectures"];
    const bool ok = names.is_array() && names.size() == 1 &&
                    (names[0] == "LlamaForCausalLM" || names[0] == "MistralForCausalLM");
    if (!ok) json.Unsupported("architectures " + names.dump());
  }
  const std::string activation = json.Has("hidden_act") ? json.String("hidden_act") : "silu";
  if (activation != "silu" && activation != "swish")
    json.Unsupported("hidden_act \"" + activation + "\"");
  RefusePartialRotary(json);
}

double PositiveOr(const Reader& json, const char* key, double otherwise) {
  return json.Has(key) ? json.Positive(key) : otherwise;
}

// What cosines and sines are multiplied by, where config.json does not give it itself.
double YarnAttentionFactor(const Reader& scaling, double factor) {
  const auto of = [factor](double scale) {
    return factor <= 1 ? 1.0 : 0.1 * scale * std::log(factor) + 1;
  };
  if (scaling.Has("attention_factor")) return scaling.Positive("attention_factor");
  if (!scaling.Has("mscale") || !scaling.Has("mscale_all_dim")) return of(1);
  return of(scaling.Positive("mscale")) / of(scaling.Positive("mscale_all_dim"));
}

void ReadLlama3(const Reader& scaling, RopeScaling& result) {
  result.low_freq_factor = scaling.Positive("low_freq_factor");
  result.high_freq_factor = scaling.Positive("high_freq_factor");
  result.original_context = scaling.Positive("original_max_position_embeddings");
  if (result.high_freq_factor <= result.low_freq_factor) {
    scaling.Fail("high_freq_factor",
                 fmt::format("more than low_freq_factor ({})", result.low_freq_factor),
                 scaling["high_freq_factor"]);
  }
}

void ReadYarn(const Reader& scaling, double context, RopeScaling& result) {
  result.original_context = PositiveOr(scaling, "original_max_position_embeddings", context);
  if (result.original_context < 1) {
    scaling.Fail("original_max_position_embeddings", "at least 1",
                 scaling["original_max_position_embeddings"]);
  }
  result.factor = scaling.Has("original_max_position_embeddings")
                      ? PositiveOr(scaling, "factor", context / result.original_context)
                      : scaling.Positive("factor");
  result.attention_factor = YarnAttentionFactor(scaling, result.factor);
  result.beta_fast = PositiveOr(scaling, "beta_fast", result.beta_fast);
  result.beta_slow = PositiveOr(scaling, "beta_slow", result.beta_slow);
  result.truncate = scaling.Bool("truncate", true);
  if (result.beta_fast < result.beta_slow) {
    scaling.Fail("beta_fast", fmt::format("at least beta_slow ({})", result.beta_slow),
                 scaling["beta_fast"]);
  }
}

// `context`: max_position_embeddings.
RopeScaling ReadRopeScaling(const Reader& scaling, size_t context) {
  using Kind = RopeScaling::Kind;
  static const std::map<std::string, Kind> kinds = {{"default", Kind::kNone},
                                                    {"linear", Kind::kLinear},
                                                    {"llama3", Kind::kLlama3},
                                                    {"dynamic", Kind::kDynamic},
                                                    {"yarn", Kind::kYarn}};
  const char* key = scaling.Has("rope_type") ? "rope_type" : "type";
  const std::string type = scaling.String(key);
  const auto kind = kinds.find(type);
  if (kind == kinds.end()) scaling.Unsupported(fmt::format("{} \"{}\"", key, type));
  RopeScaling result;
  result.kind = kind->second;
  if (result.kind == Kind::kNone) return result;
  if (result.kind == Kind::kYarn) {
    ReadYarn(scaling, static_cast<double>(context), result);
    return result;
  }
  result.factor = scaling.Positive("factor");
  if (result.kind == Kind::kDynamic) {
    if (result.factor < 1) scaling.Fail("factor", "at least 1", scaling["factor"]);
    result.original_context = static_cast<double>(context);
  }
  if (result.kind == Kind::kLlama3) ReadLlama3(scaling, result);
  return result;
}

void ReadRope(const Reader& json, ModelConfig& config) {
  if (json.Has("rope_theta")) config.rope_theta = json.Positive("rope_theta");
  if (json.Has("rope_scaling"))
    config.rope_scaling = ReadRopeScaling(json.Object("rope_scaling"), config.context);
  if (json.Has("rope_parameters")) {  // what newer files have in place of the two
    const Reader parameters = json.Object("rope_parameters");
    if (parameters.Has("rope_theta")) config.rope_theta = parameters.Positive("rope_theta");
    if (parameters.Has("rope_type") || parameters.Has("type")) {
      config.rope_scaling = ReadRopeScaling(parameters, config.context);
    }
    RefusePartialRotary(parameters);
  }
}

// The context that dynamic and yarn scaling make of the original one.
size_t StretchedContext(const ModelConfig& config) {
  const RopeScaling& scaling = config.rope_scaling;
  using Kind = RopeScaling::Kind;
  if (scaling.kind != Kind::kDynamic && scaling.kind != Kind::kYarn) return config.context;
  const double stretched = std::min(scaling.original_context * scaling.factor, 1.0 * kMostContext);
  return std::max(config.context, static_cast<size_t>(stretched));
}

// The biases are all of a module or none.
std::array<bool, kLinears> ReadBiases(const Reader& json) {
  const bool attention = json.Bool("attention_bias", false), mlp = json.Bool("mlp_bias", false);
  std::array<bool, kLinears> bias{};
  for (const LinearIndex linear : {kQ, kK, kV, kO}) bias[linear] = attention;
  for (const LinearIndex linear : {kGate, kUp, kDown}) bias[linear] = mlp;
  return bias;
}

// Only Mistral's attention slides, and it does where its config.json does not say so.
size_t ReadSlidingWindow(const Reader& json, const ModelConfig& config, bool named) {
  constexpr size_t kMistrals = 4096;
  const bool slides = config.model_type == "mistral";
  if (!json.Has("sliding_window")) return slides && !named ? kMistrals : 0;
  const size_t window = json.Count("sliding_window", kMostContext);
  if (!slides && window < config.context) {
    json.Unsupported(
        fmt::format("a sliding_window of {} with model_type \"{}\"", window, config.model_type),
        "transformers passes over it there: set it to null for that, or the type to mistral");
  }
  return slides ? window : 0;
}

void ReadHeads(const Reader& json, ModelConfig& config) {
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
  if (config.head_dim % 2 != 0)
    json.Unsupported(fmt::format("an odd head_dim ({})", config.head_dim));
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
  const Reader json(document, where);
  ModelConfig config;
  config.model_type = json.String("model_type");
  if (config.model_type != "llama" && config.model_type != "mistral") {
    json.Unsupported("model_type \"" + config.model_type + "\"");
  }
  RefuseUnsupported(json);
  config.hidden = json.Count("hidden_size", 1 << 17);
  config.intermediate = json.Count("intermediate_size", 1 << 20);
  config.layers.resize(json.Count("num_hidden_layers", 1 << 12));
  config.vocab = json.Count("vocab_size", 1 << 22);
  config.context = json.Count("max_position_embeddings", kMostContext);
  ReadHeads(json, config);
  config.rms_eps = json.Positive("rms_norm_eps");
  ReadRope(json, config);
  config.tied_head = json.Bool("tie_word_embeddings", false);
  config.context = StretchedContext(config);
  const size_t window = ReadSlidingWindow(json, config, document.contains("sliding_window"));
  for (LayerConfig& layer : config.layers) layer = {window, ReadBiases(json)};
  if (json.Has("bos_token_id")) {
    const Json& bos = json["bos_token_id"];
    if (!bos.is_number_unsigned() || bos.get<uint64_t>() >= config.vocab) {
      json.Fail("bos_token_id", fmt::format("a token id below vocab_size ({})", config.vocab), bos);
    }
    config.bos_id = bos.get<uint32_t>();
  }
  return config;
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
  size_t count = (tied_head ? 1 : 2) * vocab * hidden + hidden;
  for (size_t layer = 0; layer < layers.size(); ++layer) {
    const BlockLayout layout = LayoutOf(*this, layer);
    count += layout.Weights();
    for (const LinearRow& row : layout.linears) count += row.bias ? row.rows : 0;
    for (const NormRow& norm : layout.norms) count += norm.size;
  }
  return count;
}

}  // namespace quantref
