#include "eval/accuracy/position.h"

#include <cmath>

#include "harness/base/check.h"
#include "harness/kernels/isa.h"

namespace quantref {

double NegativeLogLikelihood(std::span<const float> logits, uint32_t target) {
  QR_DCHECK_LT(target, logits.size());
  return Ops().log_sum_exp(logits.data(), logits.size(), nullptr) -
         static_cast<double>(logits[target]);
}

ReferencePosition::ReferencePosition(std::span<const float> row, uint32_t true_token,
                                     std::span<double> room)
    : logits(row),
      probabilities(room),
      target(true_token),
      log_sum(Ops().log_sum_exp(row.data(), row.size(), &top)),
      nll(log_sum - static_cast<double>(row[true_token])) {
  if (room.empty()) return;
  QR_DCHECK_EQ(room.size(), row.size());
  Ops().probabilities(row.data(), log_sum, room.data(), room.size());
}

PositionScore ScorePosition(const ReferencePosition& reference, std::span<const float> logits) {
  QR_DCHECK_EQ(logits.size(), reference.logits.size());
  const VectorOps& ops = Ops();
  const size_t n = logits.size();
  size_t top = 0;
  const double log_sum = ops.log_sum_exp(logits.data(), n, &top);
  PositionScore score;
  score.nll = log_sum - static_cast<double>(logits[reference.target]);
  // sum p (log p - log q) with log p = a - log_sum_a, log q = b - log_sum_b. Rounding may leave a
  // tiny negative number.
  const float* const of_reference = reference.logits.data();
  const double difference =
      reference.probabilities.empty()
          ? ops.mean_difference(of_reference, reference.log_sum, logits.data(), n)
          : ops.weighted_difference(reference.probabilities.data(), of_reference, logits.data(), n);
  const double kl = difference + (log_sum - reference.log_sum);
  score.kl = kl < 0 ? 0 : kl;  // keeps a NaN
  score.probability_change = std::exp(-score.nll) - std::exp(-reference.nll);
  score.same_top = top == reference.top;
  return score;
}

void WindowScores::Add(const PositionScore& score, double reference_nll) {
  for (const WindowSum& row : kWindowSums) this->*row.sum += row.of(score, reference_nll);
}

}  // namespace quantref
