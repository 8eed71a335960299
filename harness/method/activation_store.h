#pragma once

#include <cstddef>

#include "harness/base/matrix.h"

namespace quantref {

// The hidden states of all calibration samples, (tokens, hidden) FP32 each: the one thing of a
// block-sequential pass that grows with the calibration set. In memory where they fit the budget,
// else in an unlinked file below the temporary folder ($TMPDIR), which the kernel pages in and out.
// The numbers are the same either way.
class ActivationStore {
 public:
  // Throws Error where the file is needed and cannot be had.
  ActivationStore(size_t samples, size_t tokens, size_t hidden, size_t memory_budget);
  ~ActivationStore();
  // With numbers of its own, in memory or in a file as the other's are.
  ActivationStore(const ActivationStore& other);
  ActivationStore& operator=(const ActivationStore&) = delete;

  size_t samples() const { return samples_; }
  bool in_file() const { return in_file_; }
  MatrixView<float> sample(size_t i) const {
    QR_DCHECK_LT(i, samples_);
    return {data_ + i * tokens_ * hidden_, tokens_, hidden_};
  }

 private:
  void Map();

  size_t samples_, tokens_, hidden_, bytes_;
  bool in_file_;
  float* data_ = nullptr;
};

// A quarter of this machine's memory.
size_t DefaultActivationBudget();

}  // namespace quantref
