#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "harness/base/matrix.h"
#include "harness/model/kv_codes.h"
#include "harness/quant/kv_scheme.h"

// Rounded caches by their definition, for tests. Only tests include this.

namespace quantref::testing {

// Schemes of all kinds.
inline std::vector<KvScheme> KvSchemes() {
  return {
      {.bits = 4, .group = 16},
      {.bits = 2, .group = 16, .residual = 32},
      {.bits = 3, .values = KvReach::kHead, .group = 32, .symmetric = true, .residual = 32},
      {.bits = 4, .keys = KvReach::kToken, .group = 16},
      {.bits = 8, .keys = KvReach::kToken, .group = 0},
      {.bits = 5, .keys = KvReach::kHead, .group = 16, .residual = 7},
      {.bits = 2, .keys = KvReach::kHead, .values = KvReach::kHead, .symmetric = true},
      {.bits = 7, .keys = KvReach::kToken, .values = KvReach::kHead, .residual = 100},
  };
}

// Numbers of a matrix that share a scale are rounded where they are.
inline void RoundTogether(const KvScheme& scheme, const std::vector<float*>& numbers) {
  float lo = *numbers[0], hi = *numbers[0];
  for (const float* x : numbers) {
    lo = std::min(lo, *x);
    hi = std::max(hi, *x);
  }
  const KvRounder rounder(scheme, KvGridFor(scheme, lo, hi));
  for (float* x : numbers) *x = rounder.Value(rounder.Code(*x));
}

// All of x (tokens, heads * dim) rounded; of keys by channel whole groups.
inline Matrix<float> Rounded(const KvScheme& scheme, KvReach reach, MatrixView<const float> x,
                             size_t heads) {
  Matrix<float> rounded(x.rows(), x.cols());
  for (size_t t = 0; t < x.rows(); ++t) std::copy_n(x.row(t), x.cols(), rounded.row(t));
  const size_t dim = x.cols() / heads;
  if (reach == KvReach::kChannel) {
    for (size_t first = 0; first + scheme.group <= x.rows(); first += scheme.group) {
      for (size_t c = 0; c < x.cols(); ++c) {
        std::vector<float*> group;
        for (size_t t = first; t < first + scheme.group; ++t) group.push_back(&rounded(t, c));
        RoundTogether(scheme, group);
      }
    }
    return rounded;
  }
  const bool row = reach == KvReach::kToken && scheme.group == 0;
  const size_t width = row ? x.cols() : dim;
  const size_t span = row || reach == KvReach::kHead ? width : scheme.group;
  for (size_t t = 0; t < x.rows(); ++t) {
    for (size_t head = 0; head < x.cols(); head += width) {
      for (size_t c = 0; c < width; c += span) {
        std::vector<float*> group;
        for (size_t i = c; i < std::min(c + span, width); ++i)
          group.push_back(&rounded(t, head + i));
        RoundTogether(scheme, group);
      }
    }
  }
  return rounded;
}

}  // namespace quantref::testing
