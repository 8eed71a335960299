#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "harness/base/matrix.h"
#include "harness/base/team.h"
#include "harness/train/train_block.h"

namespace quantref {

// What training makes smaller, both means over the predictions inside the windows, in nats: the
// cross-entropy of the next token, or KL(reference ‖ model) over the vocabulary (Hinton et al. 2015
// at temperature 1).
enum class TrainingLoss { kCrossEntropy, kKl };

// One prediction: its loss; the logits become `factor` times the loss's gradient by them.
//
// -log softmax(logits)[target]; the gradient is softmax(logits) - [target].
double CrossEntropyBackward(std::span<float> logits, uint32_t target, float factor);
// KL(softmax(reference) ‖ softmax(logits)); the gradient is softmax(logits) - softmax(reference).
// The reference's logits are used up.
double KlBackward(std::span<float> reference, std::span<float> logits, float factor);

// What the head reads and makes logits with, the vocabulary's rows: hidden (tokens, hidden), head
// (vocab, hidden).
struct HeadInput {
  MatrixView<const float> hidden, head;
};

// Tokens whose logits are made at a time, of so many.
size_t LogitsAtATime(size_t vocab, size_t tokens);

struct LossWorkspace {
  Matrix<float> logits, reference_logits;
  std::vector<double> losses;  // of each prediction
};

// The loss of a batch; dhidden (tokens, hidden) gets its gradient, and dhead (vocab, hidden),
// unless it is empty, too. The last position of a window predicts nothing that is known.
// `reference`: for kKl. Logits are made for LogitsAtATime tokens, so that they never lie in memory
// whole; all is parted by shapes alone, so that bits do not depend on threads.
double HeadBackward(TrainingLoss loss, const HeadInput& input, const HeadInput* reference,
                    std::span<const uint32_t> ids, const BatchShape& batch,
                    MatrixView<float> dhidden, MatrixView<float> dhead, LossWorkspace& work,
                    Team* team);

}  // namespace quantref
