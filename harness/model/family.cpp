#include "harness/model/family.h"

#include <algorithm>

namespace quantref {
namespace {

using Norm = Family::Norm;
using Activation = Family::Activation;
using Biases = Family::Biases;

constexpr std::string_view kPlain[] = {"model."};
constexpr std::string_view kOfDecoder[] = {"model.decoder.", "decoder."};
constexpr std::string_view kOfGemma3[] = {"model.", "language_model.model.",
                                          "model.language_model."};
constexpr std::string_view kPictures[] = {"vision_tower.", "multi_modal_projector.",
                                          "model.vision_tower.", "model.multi_modal_projector."};

constexpr Family kFamilies[] = {
    {.model_type = "llama", .models = "LLaMA 1 to 3.x, SmolLM2", .prefixes = kPlain},
    {.model_type = "mistral", .models = "Mistral", .prefixes = kPlain},
    {.model_type = "qwen2", .models = "Qwen2, Qwen2.5", .biases = Biases::kQkv, .prefixes = kPlain},
    {.model_type = "qwen3", .models = "Qwen3", .qk_norms = true, .prefixes = kPlain},
    {.model_type = "phi3", .models = "Phi-3, Phi-4, Phi-4-mini", .fused = true, .prefixes = kPlain},
    {.model_type = "gemma2",
     .models = "Gemma 2",
     .norm = Norm::kRmsPlusOne,
     .activation = Activation::kGelu,
     .post_norms = true,
     .scaled_embedding = true,
     .capped = true,
     .mlp_norm = "pre_feedforward_layernorm",
     .prefixes = kPlain},
    {.model_type = "gemma3_text",
     .models = "Gemma 3, of one with pictures the text (gemma3)",
     .norm = Norm::kRmsPlusOne,
     .activation = Activation::kGelu,
     .qk_norms = true,
     .post_norms = true,
     .scaled_embedding = true,
     .capped = true,
     .mlp_norm = "pre_feedforward_layernorm",
     .prefixes = kOfGemma3,
     .foreign = kPictures},
    {.model_type = "opt",
     .models = "OPT",
     .norm = Norm::kLayer,
     .activation = Activation::kRelu,
     .biases = Biases::kAll,
     .gated = false,
     .learned_positions = true,
     .attention_norm = "self_attn_layer_norm",
     .mlp_norm = "final_layer_norm",
     .o = "self_attn.out_proj",
     .up = "fc1",
     .down = "fc2",
     .final_norm = "final_layer_norm",
     .prefixes = kOfDecoder},
};

}  // namespace

constexpr Family kLlamaFamily = kFamilies[0];

std::span<const Family> Families() { return kFamilies; }

const Family* FindFamily(std::string_view model_type) {
  const auto found =
      std::find_if(std::begin(kFamilies), std::end(kFamilies),
                   [&](const Family& family) { return family.model_type == model_type; });
  return found == std::end(kFamilies) ? nullptr : found;
}

}  // namespace quantref
