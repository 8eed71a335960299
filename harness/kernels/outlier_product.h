#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "harness/base/matrix.h"
#include "harness/kernels/isa.h"
#include "harness/kernels/thin_gemm.h"
#include "harness/kernels/tiled_matrix.h"
#include "harness/quant/activation.h"

namespace quantref {

// LLM.int8() (OutlierRule): the input channels of a call that are multiplied in floating point, and
// that product, which is added to the integer kernels' of what is left.

// The channels of x (T, in) in which some row reaches the threshold, ascending, until the next
// call. A NaN reaches none. Keeps its memory from call to call.
class OutlierFinder {
 public:
  std::span<const uint32_t> Find(MatrixView<const float> x, double threshold);

 private:
  std::vector<uint32_t> channels_;
  std::vector<uint8_t> found_;  // by channel
};

// rest = the row with zeros in these channels. The largest magnitude that its scale spans.
float LeaveOut(const OutlierRule& rule, std::span<const uint32_t> channels,
               std::span<const float> row, std::span<float> rest);

// y (T, out) += x_O (T, k) W_O^T (k, out) over k outlier channels. Every sum is one of fused
// multiply-adds in increasing order of the channels, begun anew for each 128 of them and then added
// to y, so that the bits of an output do not depend on T, on tiles or on the instruction set. Keeps
// its memory from call to call.
class OutlierProduct {
 public:
  // x (T, in) for products with the matrix, over these ascending channels.
  void Pack(MatrixView<const float> x, const TiledMatrix& w, std::span<const uint32_t> channels,
            Isa isa = ActiveIsa());

  // For outputs [first, first + count), which begin at a panel of the matrix. by_channel: the
  // weights to multiply with, FP16 with a row a channel, (in, out); none: those of the matrix.
  // `scratch` is kept from call to call, one for each thread.
  void Add(const TiledMatrix& w, const std::optional<DenseRows>& by_channel, size_t first,
           size_t count, MatrixView<float> y, Matrix<float>& scratch, Isa isa = ActiveIsa()) const;

 private:
  std::vector<uint32_t> channels_, positions_;  // positions_: in the matrix's order
  Matrix<float> x_;                             // whole groups of rows (AttentionKernels::queries)
};

}  // namespace quantref
