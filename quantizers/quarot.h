#pragma once

#include "harness/method/quantizer.h"

namespace quantref {

// QuaRot: Ashkboos et al., "QuaRot: Outlier-Free 4-Bit Inference in Rotated LLMs", 2024
// (arXiv:2404.00456). What linears read is rotated by Hadamard matrices, so that no channel is much
// louder than others, and weights and activations can be rounded to 4 bits together. The model's
// function stays the same:
//   residual stream (section 4, stage 1a): the gains of the norms before attention, MLP and head
//     are folded into the matrices that read them, for then RMSNorm(R h) = R RMSNorm(h). With
//     R = H diag(s) / sqrt(n), s random signs, embeddings become R e, matrices that read the stream
//     W R^T, those that write it R W. LayerNorm (OPT) is RMSNorm of what has no mean: the mean is
//     taken out of all that writes, the norm's bias goes into what reads.
//   online (stages 1b and 1c): what down reads is rotated as it is computed, and down's columns
//     likewise. So is what o reads: in each head by v's rows, which costs nothing, and across the
//     heads online. Where there is no Hadamard matrix for the heads, of all channels online.
// The rotation of keys and queries for a rounded cache (stage 1d) is not made.
//
// A tied head becomes a matrix of its own, as embeddings and head hold different numbers from then
// on. Refused: norms of what attention and MLP give (Gemma), for R does not commute with their
// gains; sizes for which no Hadamard matrix is known (harness/kernels/hadamard_matrix.h).
//
// Knobs:
//   seed       of the signs
//   block      0, or the size of rotated blocks: H is the same small matrix along the diagonal
//   residual   flag   the residual stream
//   online     flag   what o and down read, while it is computed; without it only v and o by head
class QuaRot final : public ModelTransform {
 public:
  std::string_view name() const override { return "quarot"; }
  std::string_view summary() const override {
    return "the whole model rotated by Hadamard matrices (Ashkboos et al. 2024)";
  }
  std::span<const Knob> knobs() const override;
  ModelConfig Reshape(const ModelConfig& config, const Knobs& knobs) const override;
  std::string_view InWeights() const override { return "quarot.online: false"; }
  void Apply(const ModelConfig& config, const Knobs& knobs, size_t threads,
             ModelWeights& weights) const override;
};

}  // namespace quantref
