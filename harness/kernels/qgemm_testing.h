#pragma once

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <optional>
#include <span>

#include "harness/kernels/kernels_oracle.h"
#include "harness/kernels/kernels_testing.h"
#include "harness/kernels/qgemm.h"
#include "harness/quant/quant_testing.h"
#include "harness/testing/random.h"

// What the tests of the integer kernels share. Only tests include this.

namespace quantref::testing {

using Format = std::optional<ActivationFormat>;
inline const Format kFloats = std::nullopt;
inline const Format kBytes = ActivationFormat{};

inline Matrix<float> Product(const TiledMatrix& w, MatrixView<const float> x, const Format& format,
                             Isa isa) {
  Matrix<float> y(x.rows(), w.rows());
  std::fill_n(y.data(), x.rows() * w.rows(), std::numeric_limits<float>::quiet_NaN());
  Matrix<uint8_t> scratch;
  QuantizedInputs inputs;
  inputs.Pack(x, format, w, isa);
  MultiplyQuantized(inputs, w, 0, w.rows(), y.view(), scratch, isa);
  return y;
}

// The matrix must live on.
inline std::span<const float> All(const Matrix<float>& m) {
  return {m.data(), m.rows() * m.cols()};
}

// The largest magnitude.
inline float LargestOf(std::span<const float> x) {
  float largest = 0;
  for (const float value : x) largest = std::max(largest, std::fabs(value));
  return largest;
}

// Bit for bit, every instruction set against the scalar one.
inline void CheckAllIsas(const TiledMatrix& w, MatrixView<const float> x, const Format& format) {
  const Matrix<float> expected = Product(w, x, format, Isa::kScalar);
  for (const Isa isa : AvailableIsas()) {
    if (isa == Isa::kScalar) continue;
    CAPTURE(IsaName(isa), w.rows(), w.cols(), x.rows(), format.has_value());
    REQUIRE(SameBits(All(Product(w, x, format, isa)), All(expected)));
  }
}

}  // namespace quantref::testing
