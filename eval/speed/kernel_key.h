#pragma once

#include <optional>
#include <string>

#include "harness/kernels/thin_gemm.h"
#include "harness/quant/activation.h"
#include "harness/quant/scheme.h"

namespace quantref {

// What tells the kernels of two linears apart, beside their shapes and their numbers.
struct KernelKey {
  // How activations are rounded; a scale that calibration fixed counts as such, whatever it is.
  struct Activations {
    int bits = 8;
    bool per_token = true, fixed_scale = false;
    bool operator==(const Activations&) const = default;
  };

  std::optional<DenseRows::Type> dense{};    // of numbers that are no codes, and that is all
  WeightScheme scheme{};                     // else of the codes
  std::optional<Activations> activations{};  // none: FP32

  bool operator==(const KernelKey&) const = default;
};

// As records and tables print it: "w4a16 g128 asym", "w8a8 row sym tensor static", "fp16".
std::string OpName(const KernelKey& key);

}  // namespace quantref
