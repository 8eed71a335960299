#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "harness/model/config.h"
#include "harness/testing/testing.h"

// What the tests of config.json share. Only tests include this.

namespace quantref::testing {

// Every number differs from every other and from every default.
inline const char kValidConfig[] = R"({
  "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
  "hidden_size": 96, "intermediate_size": 160, "num_hidden_layers": 3,
  "num_attention_heads": 12, "num_key_value_heads": 4, "head_dim": 6,
  "max_position_embeddings": 300, "rms_norm_eps": 2e-5, "rope_theta": 5000.0,
  "attention_bias": true, "mlp_bias": true, "tie_word_embeddings": true,
  "vocab_size": 500, "bos_token_id": 7, "eos_token_id": 2, "torch_dtype": "float16"
})";

inline ModelConfig ReadText(const std::string& text) {
  const TempDir dir;
  testing::WriteFile(dir / "config.json", text);
  return ReadConfig(dir / "config.json");
}

// The valid file, patched (RFC 7386: null removes a key).
inline ModelConfig ReadPatched(const nlohmann::json& patch) {
  nlohmann::json document = nlohmann::json::parse(kValidConfig);
  document.merge_patch(patch);
  return ReadText(document.dump());
}
inline ModelConfig ReadPatched(const char* patch) {
  return ReadPatched(nlohmann::json::parse(patch));
}

inline size_t Biases(const ModelConfig& config) {
  size_t count = 0;
  for (const LayerConfig& layer : config.layers) {
    for (const bool bias : layer.bias) count += bias;
  }
  return count;
}

}  // namespace quantref::testing
