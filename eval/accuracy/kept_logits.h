#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "eval/record/kept_logits.h"

namespace quantref {

struct ReferencePosition;

// KL(reference || model) of a position, in nats, by each of kKeptLogitsForms.
using KeptDivergences = std::array<double, kKeptLogitsForms.size()>;

// What files of a reference's logits hold of one position, for comparisons with several models.
// Refers to the reference's logits.
//   fp16, bf16          softmax of the logits rounded to nearest, in double
//   u16                 max = the largest logit, min = the least or max - 16, whichever is more;
//                       step = (max - min) / 65535; code_i = nearest((logit_i - min) / step), or 0;
//                       log p_i = min - log_sum + step * code_i, in float, not renormalized; the
//                       sum goes over log p_i > -16 (llama.cpp's perplexity --kl-divergence)
//   top20, top200       p of the k largest logits, of equal ones the lower ids; the others are one
//                       token whose probability, in both models, is what is left of 1
//   top20_renormalized  p and the model's q over these tokens alone, each divided by its sum
class KeptPosition {
 public:
  KeptPosition() = default;
  explicit KeptPosition(const ReferencePosition& reference);

  // Beside the reference's own logits: what a form reports where nothing differs.
  KeptDivergences From(std::span<const float> logits) const;

 private:
  std::span<const float> logits_{};
  double log_sum_ = 0, log_sum_fp16_ = 0, log_sum_bf16_ = 0;
  std::vector<uint32_t> top_{};  // ids of the 200 largest, in falling order
};

}  // namespace quantref
