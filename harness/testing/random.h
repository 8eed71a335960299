#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "harness/base/matrix.h"
#include "harness/base/rng.h"

// What tests make at random, number after number and row by row. Only tests include this.

namespace quantref::testing {

inline Matrix<float> NormalMatrix(size_t rows, size_t cols, Rng& rng, double deviation = 1) {
  Matrix<float> matrix(rows, cols);
  for (size_t i = 0; i < rows * cols; ++i)
    matrix.data()[i] = static_cast<float>(deviation * rng.Normal());
  return matrix;
}

inline Matrix<float> NormalMatrix(size_t rows, size_t cols, uint64_t seed, double deviation = 1) {
  Rng rng(seed);
  return NormalMatrix(rows, cols, rng, deviation);
}

// Tokens of a vocabulary, all as likely.
inline std::vector<uint32_t> RandomIds(size_t count, size_t vocab, Rng& rng) {
  std::vector<uint32_t> ids(count);
  for (uint32_t& id : ids) id = static_cast<uint32_t>(rng.Below(vocab));
  return ids;
}

inline std::vector<uint32_t> RandomIds(size_t count, size_t vocab, uint64_t seed) {
  Rng rng(seed);
  return RandomIds(count, vocab, rng);
}

}  // namespace quantref::testing
