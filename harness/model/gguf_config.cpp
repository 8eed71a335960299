#include "harness/model/gguf_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "harness/base/error.h"
#include "harness/base/sha256.h"
#include "harness/model/layout.h"
#include "harness/model/weights.h"

namespace quantref {
namespace {

using Json = nlohmann::json;

// What an architecture of GGUF is in transformers.
struct Architecture {
  std::string_view gguf, model_type;
};
constexpr Architecture kArchitectures[] = {
    {"llama", "llama"},   {"qwen2", "qwen2"},        {"qwen3", "qwen3"},
    {"gemma2", "gemma2"}, {"gemma3", "gemma3_text"}, {"phi3", "phi3"},
};

// Keys below "<architecture>." and what config.json calls them.
struct KeyPair {
  std::string_view gguf, json;
};
constexpr KeyPair kCounts[] = {
    {"block_count", "num_hidden_layers"},
    {"embedding_length", "hidden_size"},
    {"feed_forward_length", "intermediate_size"},
    {"attention.head_count", "num_attention_heads"},
    {"attention.head_count_kv", "num_key_value_heads"},
    {"attention.key_length", "head_dim"},
    {"attention.sliding_window", "sliding_window"},
    {"attention.sliding_window_pattern", "sliding_window_pattern"},
    {"context_length", "max_position_embeddings"},
};
constexpr KeyPair kNumbers[] = {
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps"},
    {"rope.freq_base", "rope_theta"},
    {"rope.freq_base_swa", "rope_local_base_freq"},
    {"attn_logit_softcapping", "attn_logit_softcapping"},
    {"final_logit_softcapping", "final_logit_softcapping"},
};
// Those that are looked at apart, and those that say nothing about numbers.
constexpr std::string_view kOtherKeys[] = {
    "vocab_size",
    "attention.value_length",
    "rope.dimension_count",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.original_context_length",
    "rope.scaling.attn_factor",
    "rope.scaling.finetuned",
    "rope.scale_linear",
    "expert_count",
    "expert_used_count",
};

class GgufConfig {
 public:
  explicit GgufConfig(const Checkpoint& checkpoint)
      : checkpoint_(checkpoint),
        file_(*checkpoint.gguf()),
        where_(file_.path().string()),
        architecture_(FindArchitecture()) {}

  Json Read() {
    RefuseUnknownKeys();
    config_["model_type"] = architecture_.model_type;
    for (const auto& [gguf, json] : kCounts) {
      if (const auto count = file_.Count(Key(gguf))) config_[json] = *count;
    }
    for (const auto& [gguf, json] : kNumbers) {
      if (const auto number = file_.Number(Key(gguf))) config_[json] = *number;
    }
    config_["tie_word_embeddings"] = checkpoint_.Find("lm_head.weight") == nullptr;
    ReadVocabulary();
    ReadHeadWidth();
    ReadBiases();
    ReadScaling();
    ReadWindow();
    ReadOfFamily();
    return config_;
  }

 private:
  std::string Key(std::string_view name) const {
    return fmt::format("{}.{}", architecture_.gguf, name);
  }

  [[noreturn]] void Unsupported(const std::string& what, const std::string& hint = "") const {
    throw Error(what + " is not supported", where_, hint);
  }

  const Architecture& FindArchitecture() const {
    const auto name = file_.Text("general.architecture");
    if (!name) throw Error("expected the key general.architecture, found none", where_);
    const auto found = std::ranges::find(kArchitectures, *name, &Architecture::gguf);
    if (found != std::end(kArchitectures)) return *found;
    std::string known;
    for (const Architecture& architecture : kArchitectures)
      known += fmt::format("{}{}", known.empty() ? "" : ", ", architecture.gguf);
    Unsupported(fmt::format("general.architecture \"{}\"", *name), "known are " + known);
  }

  void RefuseUnknownKeys() const {
    const std::string prefix = Key("");
    for (const auto& [key, value] : file_.values()) {
      if (!key.starts_with(prefix)) continue;
      const std::string_view name = key.substr(prefix.size());
      const bool known = std::ranges::count(kCounts, name, &KeyPair::gguf) > 0 ||
                         std::ranges::count(kNumbers, name, &KeyPair::gguf) > 0 ||
                         std::ranges::count(kOtherKeys, name) > 0;
      if (!known)
        Unsupported(fmt::format("the key {}", key), "it may say what changes the model's numbers");
    }
    if (file_.Count(Key("expert_count")).value_or(0) > 0)
      Unsupported(fmt::format("a mixture of experts ({})", Key("expert_count")));
  }

  // The embedding has as many rows as the model has words, whatever the keys say.
  void ReadVocabulary() {
    config_["vocab_size"] = checkpoint_.Get("model.embed_tokens.weight").shape.front();
    const auto bos = file_.Count("tokenizer.ggml.bos_token_id");
    if (bos) config_["bos_token_id"] = *bos;
  }

  void ReadHeadWidth() {
    const uint64_t heads = file_.Count(Key("attention.head_count")).value_or(0);
    const uint64_t hidden = file_.Count(Key("embedding_length")).value_or(0);
    const uint64_t width =
        file_.Count(Key("attention.key_length")).value_or(heads > 0 ? hidden / heads : 0);
    const uint64_t of_values = file_.Count(Key("attention.value_length")).value_or(width);
    if (of_values != width) {
      Unsupported(fmt::format("{} ({}) other than {} ({})", Key("attention.value_length"),
                              of_values, Key("attention.key_length"), width));
    }
    const uint64_t rotary = file_.Count(Key("rope.dimension_count")).value_or(width);
    if (rotary != width && width > 0) {
      config_["partial_rotary_factor"] = static_cast<double>(rotary) / static_cast<double>(width);
    }
  }

  bool Has(std::string_view tensor) const {
    return checkpoint_.Find(fmt::format("model.layers.0.{}", tensor)) != nullptr;
  }

  void ReadBiases() {
    if (architecture_.gguf != "llama" && architecture_.gguf != "qwen3") return;
    config_["attention_bias"] = Has("self_attn.q_proj.bias");
    if (architecture_.gguf == "llama") config_["mlp_bias"] = Has("mlp.up_proj.bias");
  }

  // A tensor of factors by which rotary frequencies are divided; empty where the file has none.
  std::vector<float> Factors(std::string_view name) const {
    const Tensor* const stored = checkpoint_.FindStored(name);
    if (stored == nullptr) return {};
    if (stored->dtype != DType::kF32 || stored->shape.size() != 1) {
      throw Error("expected a list of F32 numbers, found another type or shape",
                  fmt::format("{}, tensor {}", where_, name));
    }
    Tensor tensor = *stored;
    tensor.shape = {1, stored->shape[0]};
    const Matrix<float> values = Weight(tensor).Decode();
    return {values.data(), values.data() + stored->shape[0]};
  }

  // Factors a frequency: those of Llama 3, which hold at every length, or Phi-3's for short and for
  // long texts.
  bool ReadFactors(Json& scaling) const {
    const std::vector<float> all = Factors("rope_freqs.weight");
    std::vector<float> shorter = Factors("rope_factors_short.weight"),
                       longer = Factors("rope_factors_long.weight");
    const auto attention = file_.Number(Key("rope.scaling.attn_factor"));
    if (!all.empty()) {
      shorter = longer = all;
      scaling["attention_factor"] = attention.value_or(1);
      scaling["original_max_position_embeddings"] = config_["max_position_embeddings"];
    } else if (!shorter.empty() || !longer.empty()) {
      if (attention) scaling["attention_factor"] = *attention;
    } else {
      return false;
    }
    scaling["rope_type"] = "longrope";
    scaling["short_factor"] = shorter;
    scaling["long_factor"] = longer;
    return true;
  }

  void ReadScaling() {
    Json scaling = Json::object();
    if (const auto context = file_.Count(Key("rope.scaling.original_context_length")))
      scaling["original_max_position_embeddings"] = *context;
    auto factor = file_.Number(Key("rope.scaling.factor"));
    if (!factor) factor = file_.Number(Key("rope.scale_linear"));
    const std::string type(
        file_.Text(Key("rope.scaling.type")).value_or(factor ? "linear" : "none"));
    if (ReadFactors(scaling)) {
      // What else the file asks for would have to be done beside the factors.
      if (type != "none" && type != "longrope" && (type != "linear" || factor.value_or(1) != 1))
        Unsupported(fmt::format("{} \"{}\" beside factors", Key("rope.scaling.type"), type));
      config_["rope_scaling"] = scaling;
      return;
    }
    if (type == "none" || (type == "linear" && factor.value_or(1) == 1)) return;
    if (type != "linear" && type != "yarn")
      Unsupported(fmt::format("{} \"{}\"", Key("rope.scaling.type"), type));
    if (file_.Has(Key("rope.scaling.attn_factor"))) Unsupported(Key("rope.scaling.attn_factor"));
    scaling["rope_type"] = type;
    if (factor) scaling["factor"] = *factor;
    config_["rope_scaling"] = scaling;
  }

  // The converter writes 0 where a Phi has none. A LLaMA with one is a Mistral.
  void ReadWindow() {
    const auto window = file_.Count(Key("attention.sliding_window"));
    if (window == uint64_t{0}) config_["sliding_window"] = nullptr;
    if (architecture_.gguf == "llama" && window.value_or(0) > 0) config_["model_type"] = "mistral";
  }

  // What the file does not say of Gemma: its largest models (27B, told by their depths, as
  // llama.cpp does) scale scores by the width a head has of the hidden state, the others by its
  // own.
  void ReadOfFamily() {
    const bool gemma2 = architecture_.gguf == "gemma2", gemma3 = architecture_.gguf == "gemma3";
    if (!gemma2 && !gemma3) return;
    constexpr uint64_t kLayersOfGemma2 = 46, kLayersOfGemma3 = 62;
    const uint64_t layers = file_.Count(Key("block_count")).value_or(0);
    const uint64_t heads =
        std::max<uint64_t>(1, file_.Count(Key("attention.head_count")).value_or(1));
    const uint64_t hidden = file_.Count(Key("embedding_length")).value_or(0);
    const bool largest = layers == (gemma2 ? kLayersOfGemma2 : kLayersOfGemma3);
    config_["query_pre_attn_scalar"] =
        largest ? hidden / heads
                : file_.Count(Key("attention.key_length")).value_or(hidden / heads);
  }

  const Checkpoint& checkpoint_;
  const GgufFile& file_;
  std::string where_;
  const Architecture& architecture_;
  Json config_ = Json::object();
};

template <typename To, typename From>
std::vector<To> Converted(const std::optional<std::vector<From>>& from) {
  if (!from) return {};
  return {from->begin(), from->end()};
}

// Token ids are below 2^32.
std::optional<uint32_t> TokenId(const GgufFile& file, std::string_view key) {
  const auto id = file.Count(key);
  if (!id) return std::nullopt;
  if (*id <= UINT32_MAX) return static_cast<uint32_t>(*id);
  throw Error(fmt::format("expected a token id for the key {}, found {}", key, *id),
              file.path().string());
}

}  // namespace

Json GgufConfigJson(const Checkpoint& checkpoint) { return GgufConfig(checkpoint).Read(); }

ModelConfig ReadGgufConfig(const Checkpoint& checkpoint) {
  const GgufFile& file = *checkpoint.gguf();
  ModelConfig config = ConfigFromJson(GgufConfigJson(checkpoint),
                                      file.path().string() + ", its keys as config.json has them");
  config.sha256 = Sha256Hex(file.header());
  return config;
}

GgufVocabulary ReadGgufVocabulary(const GgufFile& file) {
  constexpr std::string_view kModel = "tokenizer.ggml.model";
  const auto model = file.Text(kModel);
  if (!model) {
    throw Error(fmt::format("expected the key {}, found none", kModel), file.path().string(),
                "the file has no tokenizer: convert the model again");
  }
  GgufVocabulary vocabulary;
  vocabulary.model = *model;
  if (const auto pre = file.Text("tokenizer.ggml.pre")) vocabulary.pre = *pre;
  vocabulary.tokens = Converted<std::string>(file.Texts("tokenizer.ggml.tokens"));
  vocabulary.scores = file.Floats("tokenizer.ggml.scores").value_or(std::vector<float>());
  for (const int64_t type : Converted<int64_t>(file.Integers("tokenizer.ggml.token_type")))
    vocabulary.token_types.push_back(static_cast<int32_t>(std::clamp<int64_t>(type, -1, 1000)));
  vocabulary.merges = Converted<std::string>(file.Texts("tokenizer.ggml.merges"));
  vocabulary.bos_id = TokenId(file, "tokenizer.ggml.bos_token_id");
  vocabulary.unknown_id = TokenId(file, "tokenizer.ggml.unknown_token_id");
  vocabulary.add_bos = file.Bool("tokenizer.ggml.add_bos_token");
  vocabulary.add_space_prefix = file.Bool("tokenizer.ggml.add_space_prefix");
  return vocabulary;
}

}  // namespace quantref
