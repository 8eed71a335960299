#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "harness/base/matrix.h"
#include "harness/base/team.h"
#include "harness/kernels/codebook_kernels.h"
#include "harness/kernels/isa.h"
#include "harness/kernels/qgemm_kernels.h"
#include "harness/kernels/tiled_matrix.h"
#include "harness/quant/activation.h"

namespace quantref {

// Products of activations with packed weights, in integers (qgemm_kernels.h and codebook_kernels.h
// say which sums, and that every instruction set gives the same bits).
//   activations of b <= 8 bits (w8a8, w4a8, ...): their codes times the weights' codes
//   FP32 activations (w4a16, ...): fixed-point numbers of 24 bits, one scale a token, so that the
//   error is that of FP32 beside the token's largest activation
//   a codebook (nf4, ...): activations, rounded where the format says so, times every level as
//   fixed-point numbers of 23 bits, one scale a token and 128 inputs, looked up by code

// Packed activations; keeps its memory from call to call.
class QuantizedInputs {
 public:
  // x (T, in) for products with W (out, in). format: nullopt for FP32 activations. outliers:
  // channels of x, ascending, that are left out as the format's rule says (outlier_product.h). The
  // format has integer products unless the matrix is a codebook, which leaves no channels out.
  void Pack(MatrixView<const float> x, const std::optional<ActivationFormat>& format,
            const TiledMatrix& w, Isa isa = ActiveIsa(), Team* team = nullptr,
            std::span<const uint32_t> outliers = {});
  const QgemmInputs& plain() const { return inputs_; }
  MatrixView<const float> by_position() const { return by_position_; }  // for a codebook

 private:
  void Order(MatrixView<const float> x, const std::optional<ActivationFormat>& format,
             const TiledMatrix& w, Team* team);

  QgemmInputs inputs_{};
  Matrix<int8_t> values_;
  Matrix<int32_t> sums_;
  Matrix<float> totals_, scales_;
  Matrix<float> rows_;    // as they are packed, where that is not as x has them
  Matrix<float> floats_;  // of a codebook
  MatrixView<const float> by_position_;
};

// y (T, out), from Pack's inputs for this matrix: of outputs [first, first + count), which begin at
// a multiple of kQgemmTile and end at one or at the last output. `scratch` is kept from call to
// call, one for each thread. An activation that was not finite makes its token's outputs NaN.
inline constexpr size_t kQgemmTile = 32;
void MultiplyQuantized(const QuantizedInputs& x, const TiledMatrix& w, size_t first, size_t count,
                       MatrixView<float> y, Matrix<uint8_t>& scratch, Isa isa = ActiveIsa());

// The same of panels [first, end), kPanelRows outputs each, whatever tiles they are of; unchecked.
void MultiplyPanels(const QuantizedInputs& x, const TiledMatrix& w, size_t first, size_t end,
                    MatrixView<float> y, Matrix<uint8_t>& scratch, Isa isa);

const QgemmOps& QgemmOpsFor(Isa isa);
const CodebookKernels& CodebookKernelsFor(Isa isa);  // AVX-512, AMX: with VBMI where the CPU has it

}  // namespace quantref
