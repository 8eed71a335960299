#include "harness/kernels/dequantize.h"

#include <span>
#include <vector>

#include "harness/base/check.h"
#include "harness/kernels/isa.h"
#include "harness/quant/affine.h"

namespace quantref {

void DecodeRows(const PackedMatrix& matrix, size_t first, MatrixView<float> values) {
  QR_CHECK_EQ(values.cols(), matrix.cols());
  QR_CHECK_LE(first + values.rows(), matrix.rows());
  const VectorOps& ops = Ops();
  const size_t step = matrix.cols_per_scale();
  const std::span<const uint32_t> order = matrix.order();
  std::vector<uint8_t> codes(matrix.cols());
  std::vector<float> by_position(order.size());
  for (size_t r = 0; r < values.rows(); ++r) {
    ops.unpack_codes(matrix.packed_row(first + r), matrix.scheme().bits, codes.size(),
                     codes.data());
    const size_t scale_row = (first + r) / matrix.rows_per_scale();
    float* decoded = order.empty() ? values.row(r) : by_position.data();
    for (size_t s = 0; s < matrix.scale_cols(); ++s) {
      const Affine affine = matrix.affine(scale_row, s);
      ops.decode_codes(&codes[s * step], step, affine.scale, static_cast<float>(affine.zero),
                       decoded + s * step);
    }
    for (size_t p = 0; p < order.size(); ++p) values(r, order[p]) = decoded[p];
  }
}

}  // namespace quantref
