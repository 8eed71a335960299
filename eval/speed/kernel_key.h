#pragma once

#include <optional>
#include <string>

#include "harness/kernels/thin_gemm.h"
#include "harness/quant/activation.h"
#include "harness/quant/scheme.h"

namespace quantref {

// What tells the kernels of two linears apart, beside their shapes and their numbers.
struct KernelKey {
  std::optional<DenseRows::Type> dense{};  // of numbers that are no codes, and that is all
  WeightScheme scheme{};                   // else of the codes
  // None: FP32. A scale that calibration fixed is not dynamic, whatever it is.
  std::optional<ActivationScheme> activations{};

  bool operator==(const KernelKey&) const = default;
};

// As records and tables print it: "w4a16 g128 asym", "w8a8 row sym tensor static", "w8a8 row sym
// fp16>=6", "nf4 a16 g64", "fp16"; with a16 what is rounded to values that are multiplied as FP32
// activations are, "w4a16 g128 asym a-mxfp4 g32".
std::string OpName(const KernelKey& key);

}  // namespace quantref
