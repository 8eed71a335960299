#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace quantref {

// What a model's family has beside LLaMA's parts or in their place: facts that no config.json says.
// Which numbers go with them is ModelConfig's, which reads them.
struct Family {
  // Of RMS norms with gains w or 1 + w (Zhang and Sennrich 2019), or with mean and bias (Ba et al.
  // 2016).
  enum class Norm { kRms, kRmsPlusOne, kLayer };
  enum class Activation { kSilu, kGelu, kRelu };  // kGelu: its approximation by tanh
  // Which linears have biases: those that attention_bias and mlp_bias ask for, q, k and v, or all.
  enum class Biases { kAsked, kQkv, kAll };

  std::string_view model_type;  // as config.json names it
  std::string_view models;      // that are of it, for people
  Norm norm = Norm::kRms;
  Activation activation = Activation::kSilu;
  Biases biases = Biases::kAsked;
  bool gated = true;        // the MLP's hidden channels are act(gate) * up; else act(up)
  bool fused = false;       // q, k and v are one matrix, and gate and up are one
  bool qk_norms = false;    // queries and keys are normed head by head before they are rotated
  bool post_norms = false;  // what attention and the MLP give is normed before it is added
  bool scaled_embedding = false;   // by the root of the hidden size
  bool capped = false;             // scores and logits, where config.json says so
  bool learned_positions = false;  // vectors that are added to the embedding, in place of rotation

  // Its tensors below "layers.N." and beside the blocks.
  std::string_view attention_norm = "input_layernorm", mlp_norm = "post_attention_layernorm";
  std::string_view post_attention_norm = "post_attention_layernorm",
                   post_mlp_norm = "post_feedforward_layernorm";
  std::string_view o = "self_attn.o_proj", up = "mlp.up_proj", down = "mlp.down_proj";
  std::string_view final_norm = "norm";
  // Where all but the head may stand in a checkpoint; the first that there is counts.
  std::span<const std::string_view> prefixes = {};
  // Parts of a checkpoint that the text passes by: those that read pictures.
  std::span<const std::string_view> foreign = {};
};

extern const Family kLlamaFamily;

const Family* FindFamily(std::string_view model_type);  // nullptr: not supported
std::span<const Family> Families();

// Rows of learned positions before that of position 0, which stand for padding.
inline constexpr size_t kPositionOffset = 2;

}  // namespace quantref
