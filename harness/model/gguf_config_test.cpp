#include "harness/model/gguf_config.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "harness/model/load_model.h"
#include "harness/testing/testing.h"
#include "harness/testing/tiny_gguf.h"
#include "harness/testing/tiny_model.h"

namespace quantref {
namespace {

using nlohmann::json;
using testing::GgufBuilder;
using testing::LoadGguf;
using Loaded = testing::LoadedModel;
using testing::TempDir;
using testing::TinyModel;

Loaded LoadFolder(const TinyModel& model, WeightType type = WeightType::kNative) {
  const TempDir dir;
  testing::WriteTinyModel(dir.path(), model);
  const ModelConfig config = ReadConfig(dir / "config.json");
  return {config, LoadWeights(config, Checkpoint::Open(dir.path()), type, 2)};
}

void CheckSameWeights(const ModelWeights& a, const ModelWeights& b) {
  const auto of_a = AllLinears(a), of_b = AllLinears(b);
  REQUIRE(of_a.size() == of_b.size());
  for (size_t i = 0; i < of_a.size(); ++i) {
    INFO(of_a[i]->name);
    CHECK(of_a[i]->name == of_b[i]->name);
    CHECK(testing::SameNumbers(of_a[i]->weight, of_b[i]->weight));
    CHECK(of_a[i]->weight.stored_in_16_bits() == of_b[i]->weight.stored_in_16_bits());
    CHECK(of_a[i]->bias == of_b[i]->bias);
  }
  for (size_t layer = 0; layer < a.blocks.size(); ++layer)
    CHECK(a.blocks[layer].norms == b.blocks[layer].norms);
  CHECK(a.final_norm == b.final_norm);
}

json JsonOf(const GgufBuilder& builder) {
  const TempDir dir;
  builder.Write(dir / "model.gguf");
  return GgufConfigJson(*Checkpoint::Open(dir / "model.gguf"));
}

TEST_CASE("gguf_config: a model in plain numbers is that of its safetensors", "[gguf_config]") {
  for (const TinyModel& model :
       {TinyModel{}, TinyModel{.tied = true, .dtype = "F16"}, TinyModel{.dtype = "BF16"},
        TinyModel{
            .heads = 3, .kv_heads = 3, .head_dim = 6, .attention_bias = true, .mlp_bias = true}}) {
    INFO(model.dtype);
    for (const WeightType type : {WeightType::kNative, WeightType::kFp16}) {
      const Loaded gguf = LoadGguf(testing::TinyGguf(model), type);
      const Loaded folder = LoadFolder(model, type);
      CheckSameWeights(gguf.weights, folder.weights);
      CHECK(gguf.config.rms_eps == folder.config.rms_eps);
      CHECK(gguf.config.rope_theta == folder.config.rope_theta);
      CHECK(gguf.config.tied_head == folder.config.tied_head);
      CHECK(gguf.config.bos_id == folder.config.bos_id);
      CHECK(gguf.config.context == folder.config.context);
      CHECK(gguf.config.Parameters() == folder.config.Parameters());
      CHECK(gguf.config.sha256.size() == 64);
    }
  }
}

TEST_CASE("gguf_config: what is wrong with a file is said in its own words", "[gguf_config]") {
  const auto message = [](const auto& change) {
    testing::FileTensors tensors = testing::TinyTensors({});
    change(tensors);
    return testing::ErrorMessage([&] { LoadGguf(testing::TinyGguf({}, tensors)); });
  };
  const std::string name = "model.layers.0.mlp.up_proj.weight";
  const std::string lacks = message([&](auto& tensors) { tensors.erase(name); });
  CHECK(testing::MissingPart(lacks, {name, "found", "convert the model again"}) == "");
  const std::string misshapen = message(
      [&](auto& tensors) { std::swap(tensors.at(name).shape[0], tensors.at(name).shape[1]); });
  CHECK(testing::MissingPart(misshapen, {name, "the file's header asks for shape"}) == "");
  const std::string more = message(
      [&](auto& tensors) { tensors["model.layers.0.mlp.extra.weight"] = tensors.at(name); });
  for (const std::string& text : {lacks, misshapen, more})
    CHECK_FALSE(testing::Contains(text, "config.json"));
}

TEST_CASE("gguf_config: keys become those of config.json", "[gguf_config]") {
  const json config = JsonOf(testing::TinyGguf({.tied = true}));
  const json expected = {
      {"model_type", "llama"},   {"num_hidden_layers", 2},         {"hidden_size", 32},
      {"intermediate_size", 48}, {"num_attention_heads", 4},       {"num_key_value_heads", 2},
      {"head_dim", 8},           {"max_position_embeddings", 512}, {"rms_norm_eps", 1e-5},
      {"rope_theta", 10000.0},   {"tie_word_embeddings", true},    {"vocab_size", 64},
      {"bos_token_id", 1},       {"attention_bias", false},        {"mlp_bias", false}};
  CHECK(config == expected);
}

TEST_CASE("gguf_config: a sliding window makes a Mistral of it", "[gguf_config]") {
  const json config = JsonOf(testing::TinyGguf({}).U32("llama.attention.sliding_window", 7));
  CHECK(config["model_type"] == "mistral");
  CHECK(config["sliding_window"] == 7);
  const json without = JsonOf(testing::TinyGguf({}).U32("llama.attention.sliding_window", 0));
  CHECK(without["model_type"] == "llama");
  CHECK(without["sliding_window"] == nullptr);
}

TEST_CASE("gguf_config: rotary factors may lie in another part", "[gguf_config]") {
  const TempDir dir;
  const std::vector<float> factors = {1, 1, 2.5f, 8};
  testing::TinyGguf({})
      .U32("split.no", 0)
      .U32("split.count", 2)
      .Write(dir / "m-00001-of-00002.gguf");
  GgufBuilder()
      .U32("split.no", 1)
      .U32("split.count", 2)
      .AddFloats("rope_freqs.weight", {4}, factors)
      .Write(dir / "m-00002-of-00002.gguf");
  const json config = GgufConfigJson(*Checkpoint::Open(dir.path()));
  CHECK(config["rope_scaling"]["short_factor"] == json(factors));
}

TEST_CASE("gguf_config: rotary factors and scaling", "[gguf_config]") {
  const auto scaling = [](const GgufBuilder& builder) { return JsonOf(builder)["rope_scaling"]; };
  const std::vector<float> factors = {1, 1, 2.5f, 8};
  const json of_llama3 =
      scaling(testing::TinyGguf({}).AddFloats("rope_freqs.weight", {4}, factors));
  CHECK(of_llama3["rope_type"] == "longrope");
  CHECK(of_llama3["short_factor"] == json(factors));
  CHECK(of_llama3["long_factor"] == json(factors));
  CHECK(of_llama3["attention_factor"] == 1);
  CHECK(of_llama3["original_max_position_embeddings"] == 512);

  const std::vector<float> longer = {1, 2, 3, 4};
  const json of_phi = scaling(testing::TinyGguf({})
                                  .AddFloats("rope_factors_short.weight", {4}, factors)
                                  .AddFloats("rope_factors_long.weight", {4}, longer)
                                  .U32("llama.rope.scaling.original_context_length", 128)
                                  .F32("llama.rope.scaling.attn_factor", 1.19f));
  CHECK(of_phi["short_factor"] == json(factors));
  CHECK(of_phi["long_factor"] == json(longer));
  CHECK(of_phi["attention_factor"] == 1.19);
  CHECK(of_phi["original_max_position_embeddings"] == 128);

  CHECK(scaling(testing::TinyGguf({})
                    .Text("llama.rope.scaling.type", "linear")
                    .F32("llama.rope.scaling.factor", 8)) ==
        json{{"rope_type", "linear"}, {"factor", 8.0}});
  CHECK(scaling(testing::TinyGguf({}).F32("llama.rope.scale_linear", 2))["factor"] == 2);
  CHECK(scaling(testing::TinyGguf({}).Text("llama.rope.scaling.type", "none")).is_null());
  CHECK(scaling(testing::TinyGguf({})
                    .Text("llama.rope.scaling.type", "yarn")
                    .F32("llama.rope.scaling.factor", 4)
                    .U32("llama.rope.scaling.original_context_length", 128))["rope_type"] ==
        "yarn");
  CHECK_ERROR(JsonOf(testing::TinyGguf({}).Text("llama.rope.scaling.type", "odd")), "\"odd\"");
  CHECK_ERROR(JsonOf(testing::TinyGguf({})
                         .AddFloats("rope_freqs.weight", {4}, factors)
                         .F32("llama.rope.scaling.factor", 4)),
              "\"linear\" beside factors");
  CHECK_ERROR(JsonOf(testing::TinyGguf({}).Add("rope_freqs.weight", 1, {4}, "12345678")),
              "rope_freqs.weight", "F32");
}

// The keys of another architecture than llama, with an embedding and nothing more.
GgufBuilder Skeleton(const std::string& architecture) {
  const std::vector<float> row(4, 0);
  return GgufBuilder()
      .Text("general.architecture", architecture)
      .U32(architecture + ".block_count", 26)
      .U32(architecture + ".embedding_length", 4)
      .U32(architecture + ".attention.head_count", 2)
      .AddFloats("token_embd.weight", {4, 1}, row);
}

TEST_CASE("gguf_config: other architectures", "[gguf_config]") {
  const json gemma = JsonOf(Skeleton("gemma3")
                                .U32("gemma3.attention.key_length", 256)
                                .U32("gemma3.attention.sliding_window", 512)
                                .F32("gemma3.rope.freq_base_swa", 10000));
  CHECK(gemma["model_type"] == "gemma3_text");
  CHECK(gemma["query_pre_attn_scalar"] == 256);
  CHECK(gemma["sliding_window"] == 512);
  CHECK(gemma["rope_local_base_freq"] == 10000);
  CHECK(gemma["tie_word_embeddings"] == true);
  const json gemma2 = JsonOf(Skeleton("gemma2")
                                 .F32("gemma2.attn_logit_softcapping", 50)
                                 .F32("gemma2.final_logit_softcapping", 30));
  CHECK(gemma2["model_type"] == "gemma2");
  CHECK(gemma2["attn_logit_softcapping"] == 50);
  CHECK(gemma2["final_logit_softcapping"] == 30);
  CHECK(JsonOf(Skeleton("qwen2"))["model_type"] == "qwen2");
  CHECK(JsonOf(Skeleton("qwen3"))["attention_bias"] == false);
  const json phi = JsonOf(Skeleton("phi3").U32("phi3.rope.dimension_count", 1));
  CHECK(phi["model_type"] == "phi3");
  const json windowless = JsonOf(Skeleton("phi3").U32("phi3.attention.sliding_window", 0));
  CHECK(windowless["sliding_window"] == nullptr);
  CHECK(phi["partial_rotary_factor"] == 0.5);
}

TEST_CASE("gguf_config: what is not known is refused by name", "[gguf_config]") {
  CHECK_ERROR(JsonOf(Skeleton("mamba")), "model.gguf", "\"mamba\"", "not supported",
              "llama, qwen2");
  CHECK_ERROR(JsonOf(GgufBuilder().U32("k", 1)), "general.architecture", "found none");
  CHECK_ERROR(JsonOf(testing::TinyGguf({}).F32("llama.logit_scale", 0.5f)), "llama.logit_scale",
              "not supported");
  CHECK_ERROR(JsonOf(testing::TinyGguf({}).U32("llama.expert_count", 8)), "mixture of experts");
  CHECK(JsonOf(testing::TinyGguf({}).U32("llama.expert_count", 0))["model_type"] == "llama");
  CHECK_ERROR(JsonOf(Skeleton("qwen2").U32("qwen2.attention.value_length", 3)), "value_length (3)");
  const TempDir dir;
  GgufBuilder().Text("general.architecture", "llama").Write(dir / "model.gguf");
  CHECK_ERROR(ReadModelConfig(dir / "model.gguf"), "model.gguf", "embed_tokens");
}

TEST_CASE("gguf_config: the vocabulary's keys", "[gguf_config]") {
  const TempDir dir;
  GgufBuilder file;
  testing::AddLetterTokenizer(file);
  const std::vector<std::string> merges = {"a b", "ab c"};
  file.U32("tokenizer.ggml.bos_token_id", 1).Texts("tokenizer.ggml.merges", merges);
  file.Write(dir / "model.gguf");
  const GgufVocabulary vocabulary = ReadGgufVocabulary(GgufFile::Open(dir / "model.gguf"));
  CHECK(vocabulary.model == "llama");
  CHECK(vocabulary.pre == "default");
  CHECK(vocabulary.tokens.size() == testing::kLetterPieces);
  CHECK(vocabulary.tokens[6] == "a");
  CHECK(vocabulary.scores.size() == testing::kLetterPieces);
  CHECK(vocabulary.token_types[0] == 2);
  CHECK(vocabulary.merges == merges);
  CHECK(vocabulary.bos_id == 1u);
  CHECK(vocabulary.unknown_id == 0u);
  CHECK(vocabulary.add_bos == true);
  CHECK_FALSE(vocabulary.add_space_prefix.has_value());
  GgufBuilder().U32("k", 1).Write(dir / "none.gguf");
  CHECK_ERROR(ReadGgufVocabulary(GgufFile::Open(dir / "none.gguf")), "none.gguf",
              "tokenizer.ggml.model");
}

}  // namespace
}  // namespace quantref
