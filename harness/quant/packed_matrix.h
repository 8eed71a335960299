#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "harness/base/matrix.h"
#include "harness/quant/scale.h"
#include "harness/quant/scale_shape.h"
#include "harness/quant/scheme.h"

namespace quantref {

struct Affine;
class Grid;

// Stored bits of a quantized matrix: codes by whole bytes of a row, those of each scale, b for each
// zero point (16 for one that is no code), what scales have in common (FrameBits), and where the
// columns are permuted, ceil(log2(cols)) for each; without an exponent, which adds kExponentBits
// where it is not 0.
size_t PackedStorageBits(size_t rows, size_t cols, const WeightScheme& scheme, bool ordered);

// The text that stands for the scheme in hashes of packed matrices, whatever tables call it: of
// `int` its bits, the reach of a scale and the kind of range, "int4 g128 asym", "int3 row sym
// full", "int8 tensor asym min-max"; of other formats their name (and bits, where they have none of
// their own), the reach, the type of scales and the SHA-256 of the levels as little-endian FP32.
std::string HashedScheme(const WeightScheme& scheme);
// That of matrices that stay in their files (DecodedRows): "int4 g128 asym", "nf4 g64"; with double
// quantization "nf4 g64 dq".
std::string HashedForm(const WeightScheme& scheme);

// A quantized (out, in) matrix. Layout (the reference layout; kernels may repack):
//   codes   row after row; in a row, code j takes the bits [j*b, (j+1)*b) counted from the least
//           significant bit of the row's first byte; a row ends on a whole byte.
//   scales  as the scheme's ScaleType says, one for each (row block, column block) of the
//           granularity, row-major; what they have in common is the frame.
//   zeros   one code for each scale, or one FP16 number, where the scheme has them.
//   order   which column of the weights each position of a row holds; none: the column of its
//           number. Codes, groups and columns of scales go by position, decoded values by column.
class PackedMatrix {
 public:
  PackedMatrix(size_t rows, size_t cols,
               const WeightScheme& scheme);  // all bytes 0, and the frame none

  size_t rows() const { return rows_; }
  size_t cols() const { return cols_; }
  const WeightScheme& scheme() const { return scheme_; }

  const ScaleShape& scales() const { return shape_; }  // which weights share one
  size_t scale_rows() const { return shape_.rows; }
  size_t scale_cols() const { return shape_.cols; }

  Grid grid(size_t scale_row, size_t scale_col) const;
  // The scale is rounded to what can be stored in the frame, if it is not that already.
  void set_grid(size_t scale_row, size_t scale_col, const Grid& grid);

  // The same of `int`, for integer kernels.
  Affine affine(size_t scale_row, size_t scale_col) const;
  void set_affine(size_t scale_row, size_t scale_col, const Affine& affine);

  int exponent() const { return frame_.exponent; }
  void set_exponent(int exponent);  // scales that were set before change with it

  // Of kDynamic8 it has an absmax for every kNestedBlock scales once they are to be set.
  const ScaleFrame& frame() const { return frame_; }
  void set_frame(ScaleFrame frame);  // likewise
  ScaleUnit unit(size_t scale_row, size_t scale_col) const {
    return frame_.UnitOf(ScaleIndex(scale_row, scale_col));
  }

  // Position p of a row belongs to column order()[p] of the weights: a permutation of the columns,
  // or empty where positions are columns.
  void set_order(std::vector<uint32_t> order);
  std::span<const uint32_t> order() const { return order_; }

  void GetCodes(size_t row, std::span<uint8_t> codes) const;  // codes.size() == cols, by position
  void SetCodes(size_t row, std::span<const uint8_t> codes);

  // The values of a row, by column; the specification of every faster decoder.
  void DecodeRow(size_t row, std::span<float> values) const;

  // The packed bytes of a row; 8 bytes beyond its end may be read.
  const uint8_t* packed_row(size_t row) const { return codes_.data() + row * row_bytes_; }

  // What is stored, for files.
  std::span<const uint8_t> codes() const { return {codes_.data(), rows_ * row_bytes_}; }
  std::span<const uint8_t> scale_bytes() const { return scales_; }
  std::span<const uint8_t> zero_bytes() const { return zeros_; }
  // The same beside the frame and the order that were set; false, with the matrix as it was, where
  // they are none of such a matrix: sizes, codes that mean nothing, scales or zeros that are no
  // numbers.
  bool SetStored(std::span<const uint8_t> codes, std::span<const uint8_t> scales,
                 std::span<const uint8_t> zeros);

  size_t StorageBits() const;
  double EffectiveBits() const;  // StorageBits per weight

  // SHA-256 of shape, HashedScheme, an exponent that is not 0, codes, scales, zeros, order, and the
  // frame's FP32 numbers (FrameBits). In which order the columns of a group stand within it does
  // not count, for files keep the group of each column alone: they are taken in ascending order,
  // and an order that leaves all columns in place as none.
  std::string Sha256() const;

 private:
  size_t ScaleIndex(size_t scale_row, size_t scale_col) const;
  float Scale(size_t i) const;
  void SetScale(size_t i, float scale);
  std::vector<float> FrameNumbers() const;
  PackedMatrix Ascending() const;
  std::string StoredSha256() const;

  WeightScheme scheme_;
  size_t rows_, cols_;
  ScaleShape shape_;
  size_t row_bytes_;
  ScaleFrame frame_;
  std::vector<uint8_t> codes_;
  std::vector<uint8_t> scales_;  // as StoreScale writes them
  std::vector<uint8_t> zeros_;   // ZeroBytes each
  std::vector<uint32_t> order_;
};

}  // namespace quantref
