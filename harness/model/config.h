#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "harness/io/input_file.h"
#include "harness/kernels/hadamard.h"
#include "harness/model/family.h"

namespace quantref {

// Rotary embedding frequencies beyond the plain ones, as config.json's rope_scaling has them
// (rope.cpp says what they do).
struct RopeScaling {
  enum class Kind { kNone, kLinear, kLlama3, kDynamic, kYarn, kLongRope } kind = Kind::kNone;
  double factor = 1;
  double low_freq_factor = 1;            // llama3 only
  double high_freq_factor = 4;           // llama3 only
  double original_context = 0;           // all but linear: the tokens of pre-training
  double attention_factor = 1;           // yarn and longrope: of cosines and sines
  double beta_fast = 32, beta_slow = 1;  // yarn only, in turns
  bool truncate = true;                  // yarn only: bounds of the ramp at whole pairs
  // longrope only, one a pair: by what frequencies are divided in texts up to the original context,
  // and in longer ones.
  std::vector<double> short_factors{}, long_factors{};
};

// The linears and the norms that a block may have, each in the order of the data's way. Where a
// family has them in one matrix, kQ is that of q, k and v, and kGate that of gate and up.
enum LinearIndex : size_t { kQ, kK, kV, kO, kGate, kUp, kDown, kLinears };
enum NormIndex : size_t {
  kAttentionNorm,
  kQNorm,
  kKNorm,
  kPostAttentionNorm,
  kMlpNorm,
  kPostMlpNorm,
  kNorms
};

// What may differ from block to block.
struct LayerConfig {
  size_t sliding_window = 0;  // tokens that one attends to, itself included; 0: all before it
  std::array<bool, kLinears> bias{};  // whether the linear has one
  bool local_rope = false;            // whether it rotates by local_rope_theta
  // What o and down read goes through these first, which no model has by itself: a transform put
  // them there, and their inverses into the matrices.
  Rotation attention_rotation{}, mlp_rotation{};
};

// The shape of a model: what config.json says, checked.
struct ModelConfig {
  const Family* family = &kLlamaFamily;
  std::string model_type;  // as config.json has it
  size_t hidden = 0, intermediate = 0, heads = 0, kv_heads = 0, head_dim = 0, vocab = 0;
  std::vector<LayerConfig> layers;
  // max_position_embeddings; the stretched context where dynamic or yarn scaling stretches it.
  size_t context = 0;
  double rms_eps = 1e-6;  // of all norms, whichever their kind
  double rope_theta = 10000, local_rope_theta = 10000;
  RopeScaling rope_scaling;      // not of local_rope_theta
  size_t rotary_dim = 0;         // first channels of a head that are rotated; 0: all
  double attention_scale = 0;    // of scores; 0: 1 / sqrt(head_dim)
  double attention_softcap = 0;  // of scaled scores; 0: none
  double final_softcap = 0;      // of logits; 0: none
  bool tied_head = false;
  std::optional<uint32_t> bos_id;
  std::string sha256{};  // of the file that says all this

  size_t RotaryDim() const { return rotary_dim > 0 ? rotary_dim : head_dim; }
  // Whether some blocks rotate by local_rope_theta.
  bool HasLocalRope() const;
  // What embeddings are multiplied by.
  float EmbeddingScale() const;

  // Multiply-adds count 2. Every product of one forward over `tokens` positions whose logits are
  // computed for `scored` of them; attention counts the keys that are seen. With rotations.
  double ForwardFlops(size_t tokens, size_t scored) const;
  double RotationFlops() const;  // of a token, of that
  size_t Parameters() const;
};

// Which linears of a block have biases. attention, mlp: whether config.json asks for them there,
// where the family leaves that to it.
std::array<bool, kLinears> BiasesOf(const Family& family, bool attention, bool mlp);

// Reads and checks config.json. Throws Error for a file that is wrong, and for every feature that
// would change the numbers but is not supported, by its name. `file` gets what was read.
// `quantized`: what quantization_config says is somebody else's to read; else it is refused.
ModelConfig ReadConfig(const std::filesystem::path& path, InputFile* file = nullptr,
                       bool quantized = false);

// The same of what config.json says, without sha256. `where`: the file, for errors.
ModelConfig ConfigFromJson(const nlohmann::json& document, const std::string& where);

}  // namespace quantref
