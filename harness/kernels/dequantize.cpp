#include "harness/kernels/dequantize.h"

#include <span>
#include <vector>

#include "harness/base/check.h"
#include "harness/kernels/isa.h"
#include "harness/quant/grid.h"

namespace quantref {
namespace {

void DecodeGroup(const VectorOps& ops, const Grid& grid, const NumberFormat& format,
                 std::span<const uint8_t> codes, float* values) {
  if (format.evenly_spaced()) {
    const float zero = format.affine() ? static_cast<float>(grid.affine().zero) : grid.zero();
    return ops.decode_codes(codes.data(), codes.size(), grid.scale(), zero, values);
  }
  const LevelTable& levels = format.levels;
  if (levels.size() == kLookUpSize)
    return ops.look_up(codes.data(), codes.size(), levels.by_code(), grid.scale(), values);
  for (size_t i = 0; i < codes.size(); ++i) values[i] = grid.Decode(codes[i]);
}

}  // namespace

void DecodeRows(const PackedMatrix& matrix, size_t first, MatrixView<float> values) {
  QR_CHECK_EQ(values.cols(), matrix.cols());
  QR_CHECK_LE(first + values.rows(), matrix.rows());
  const VectorOps& ops = Ops();
  const ScaleShape& shape = matrix.scales();
  const std::span<const uint32_t> order = matrix.order();
  std::vector<uint8_t> codes(matrix.cols());
  std::vector<float> by_position(order.size());
  for (size_t r = 0; r < values.rows(); ++r) {
    ops.unpack_codes(matrix.packed_row(first + r), matrix.scheme().bits, codes.size(),
                     codes.data());
    const size_t scale_row = shape.RowOf(first + r);
    float* decoded = order.empty() ? values.row(r) : by_position.data();
    for (size_t s = 0; s < shape.cols; ++s) {
      const size_t begin = shape.Begin(s);
      DecodeGroup(ops, matrix.grid(scale_row, s), *matrix.scheme().format,
                  {&codes[begin], shape.Size(s)}, decoded + begin);
    }
    for (size_t p = 0; p < order.size(); ++p) values(r, order[p]) = decoded[p];
  }
}

}  // namespace quantref
