#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <span>
#include <vector>

#include "harness/base/matrix.h"
#include "harness/model/transformer.h"
#include "harness/testing/random.h"
#include "harness/testing/testing.h"
#include "harness/testing/tiny_model.h"

// What the tests of models share. Only tests include this.

namespace quantref::testing {

inline Transformer LoadTransformer(const std::filesystem::path& dir,
                                   WeightType type = WeightType::kNative) {
  const ModelConfig config = ReadConfig(dir / "config.json");
  return {config, LoadWeights(config, Checkpoint::Open(dir), type, 1), config.context};
}

// The weights stay mapped when the folder is gone.
inline Transformer Tiny(const TinyModel& model, WeightType type = WeightType::kNative) {
  const TempDir dir;
  WriteTinyModel(dir.path(), model);
  return LoadTransformer(dir.path(), type);
}

inline double LargestDifference(MatrixView<const float> a, MatrixView<const float> b) {
  double largest = 0;
  for (size_t r = 0; r < a.rows(); ++r) {
    for (size_t c = 0; c < a.cols(); ++c) {
      const double difference =
          std::fabs(static_cast<double>(a(r, c)) - static_cast<double>(b(r, c)));
      KeepWorst(difference, largest);
    }
  }
  return largest;
}

inline double At(MatrixView<const float> matrix, size_t r, size_t c) {
  return static_cast<double>(matrix(r, c));
}

inline bool SameBits(MatrixView<const float> a, MatrixView<const float> b) {
  if (a.rows() != b.rows() || a.cols() != b.cols()) return false;
  for (size_t r = 0; r < a.rows(); ++r) {
    if (std::memcmp(a.row(r), b.row(r), a.cols() * sizeof(float)) != 0) return false;
  }
  return true;
}

inline bool SameBits(const Matrix<float>& a, const Matrix<float>& b) {
  return SameBits(a.view(), b.view());
}

// hidden (tokens, hidden) -> (tokens, vocab)
inline Matrix<float> Logits(const Transformer& model, MatrixView<const float> hidden,
                            Workspace& work) {
  Matrix<float> logits(hidden.rows(), model.config().vocab);
  model.Logits(hidden, logits.view(), work);
  return logits;
}

// Of every position.
inline Matrix<float> LogitsOf(const ModelConfig& config, const ModelWeights& weights,
                              std::span<const uint32_t> ids,
                              Products products = Products::kKernel) {
  const Transformer model(config, weights, ids.size(), products);
  Workspace work;
  return Logits(model, model.Hidden(ids, work).view(), work);
}

// -ln p of the token, from a row of logits.
inline double Nll(std::span<const float> logits, uint32_t token) {
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit));
  return std::log(sum) - static_cast<double>(logits[token]);
}

}  // namespace quantref::testing
