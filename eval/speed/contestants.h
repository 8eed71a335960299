#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "eval/speed/kernel_key.h"
#include "harness/base/rng.h"
#include "harness/model/ops.h"
#include "harness/model/weights.h"

namespace quantref {

// The linears whose speed is compared, as the model would run them (ApplyLinear).

// A kernel, and how one linear that it is for rounds its activations.
struct KernelFormat {
  KernelKey key;
  std::optional<ActivationFormat> activations{};
};

// Of numbers of this type.
KernelFormat DenseFormat(DenseRows::Type type);

// The format of a linear that runs on our kernels. None for codes that only the simulated path can
// take.
std::optional<KernelFormat> FormatOf(const Linear& linear);

// Weights of one shape and format, and what a product with them needs.
class Contestant {
 public:
  // first: the codes to begin with; none: random ones. Random copies are added until there are
  // `copies`. Dense numbers are always random.
  Contestant(const KernelFormat& format, const Weight* first, size_t rows, size_t cols,
             size_t copies, Rng& rng);

  // y = x W^T; the copies take turns.
  void Run(MatrixView<const float> x, MatrixView<float> y, LinearScratch& scratch);
  // Whether y is what Run makes of x with the copy that it used last: the bits of the scalar
  // reference, or for dense numbers within ErrorBound of sums in double, on a sample of outputs.
  bool IsRight(MatrixView<const float> x, MatrixView<const float> y, Rng& rng) const;

  const KernelFormat& format() const { return format_; }
  const Weight& weight() const { return copies_.front().weight; }
  size_t copies() const { return copies_.size(); }
  size_t bytes() const;  // of the weights that one product reads
  // Of a product with so many tokens, as KernelTiming::codes has it; nothing without codes.
  std::optional<bool> Multiplies(size_t tokens) const;

 private:
  void AddDense(size_t rows, size_t cols, size_t copies, Rng& rng);

  KernelFormat format_;
  std::shared_ptr<uint8_t> dense_;  // the numbers of all copies without codes
  std::vector<Linear> copies_;
  size_t last_ = 0;
};

}  // namespace quantref
