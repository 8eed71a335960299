#include "harness/model/attention_oracle.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace quantref::testing {

std::vector<double> AttendInDouble(const AttentionShape& shape, const float* query,
                                   std::span<const float* const> keys,
                                   std::span<const float* const> values) {
  const size_t dim = shape.head_dim;
  std::vector<double> scores, result(dim);
  for (const float* key : keys) {
    double score = 0;
    for (size_t i = 0; i < dim; ++i)
      score += static_cast<double>(query[i]) * static_cast<double>(key[i]);
    score *= shape.scale > 0 ? shape.scale : 1 / std::sqrt(static_cast<double>(dim));
    if (shape.softcap > 0) score = shape.softcap * std::tanh(score / shape.softcap);
    scores.push_back(score);
  }
  const double largest = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (double& score : scores) sum += score = std::exp(score - largest);
  for (size_t s = 0; s < values.size(); ++s) {
    const double weight = scores[s] / sum;
    for (size_t i = 0; i < dim; ++i) result[i] += weight * static_cast<double>(values[s][i]);
  }
  return result;
}

}  // namespace quantref::testing
