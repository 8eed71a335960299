#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "harness/model/config.h"

namespace quantref {

// A block's wiring as data: which matrices and norms it has, by which names and in which shapes,
// what each matrix reads, and where scales can be folded. Whatever takes a block apart (loading,
// plans, costs, statistics, transforms, hashes) reads it here; the arithmetic is in block.h.

// The four places where linears read their inputs, in the order of the data's way.
enum class Tap { kAttentionInput, kAttentionOutput, kMlpInput, kMlpHidden };
inline constexpr size_t kTaps = 4;
inline constexpr std::array<Tap, kTaps> kAllTaps = {Tap::kAttentionInput, Tap::kAttentionOutput,
                                                    Tap::kMlpInput, Tap::kMlpHidden};

// One norm's gain, and its bias where it has one.
struct NormRow {
  NormIndex index;
  std::string_view name;  // below "layers.N.", as the checkpoint has it: "input_layernorm"
  size_t size;
  bool bias = false;
};

// One matrix, (rows, cols) = (outputs, inputs).
struct LinearRow {
  LinearIndex index;
  std::string_view name;  // below "layers.N.", as the checkpoint has it: "self_attn.q_proj"
  size_t rows, cols;
  Tap tap;  // what it reads
  bool bias;
  bool clippable;  // whether its largest weights may be cut: not where a softmax magnifies outputs
};

// Rows of a linear from `first` on: of a fused matrix those of its last part.
struct LinearRows {
  LinearIndex linear;
  size_t first = 0;

  bool operator==(const LinearRows&) const = default;
};

// Whose output channel j reaches channel j of a tap, and nothing else, by way of factors that do
// not depend on it: a norm's gain (and bias), or the rows (and bias) of a linear.
using Producer = std::variant<NormIndex, LinearRows>;

// Channels that can be scaled without changing the model: the producer's output channel j divided
// by s_j, and column j of every consumer times s_j.
struct ScalingGroup {
  Tap tap;  // what the consumers read
  Producer producer;
  std::vector<LinearIndex> consumers;  // all readers of the tap

  bool of_norm() const { return std::holds_alternative<NormIndex>(producer); }
};

struct BlockLayout {
  std::vector<NormRow> norms;                            // in the order of NormIndex
  std::vector<LinearRow> linears;                        // in the order of LinearIndex
  std::array<std::optional<Producer>, kTaps> producers;  // by Tap; none: nothing can be folded

  const LinearRow& row(LinearIndex linear) const;
  size_t PositionOf(LinearIndex linear) const;  // in `linears`

  std::vector<LinearIndex> Readers(Tap tap) const;
  size_t Channels(Tap tap) const;  // the inputs of its readers
  std::vector<ScalingGroup> ScalingGroups() const;  // in the order of taps
  size_t Weights() const;                           // of all linears together
};

// Of block `layer` of the model.
BlockLayout LayoutOf(const ModelConfig& config, size_t layer);

// The rows that give the values, kv_heads * head_dim of them.
LinearRows ValueRows(const ModelConfig& config);

// A matrix or a norm of block `layer`: "layers.3.mlp.down_proj".
std::string NameInModel(size_t layer, std::string_view name);

// The matrices outside the blocks.
inline constexpr char kEmbeddingName[] = "embed_tokens", kHeadName[] = "lm_head";

}  // namespace quantref
