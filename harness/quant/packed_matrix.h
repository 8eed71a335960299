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
// zero point, and where the columns are permuted, ceil(log2(cols)) for each; without an exponent,
// which adds kExponentBits where it is not 0.
size_t PackedStorageBits(size_t rows, size_t cols, const WeightScheme& scheme, bool ordered);

// The text that stands for the scheme in hashes of packed matrices, whatever tables call it: of
// `int` its bits, the reach of a scale and the kind of range, "int4 g128 asym", "int3 row sym
// full", "int8 tensor asym min-max"; of other formats their name, the reach, the type of scales and
// the SHA-256 of the levels as little-endian FP32.
std::string HashedScheme(const WeightScheme& scheme);

// A quantized (out, in) matrix. Layout (the reference layout; kernels may repack):
//   codes   row after row; in a row, code j takes the bits [j*b, (j+1)*b) counted from the least
//   significant bit of the
//           row's first byte; a row ends on a whole byte.
//   scales  as the format's ScaleType says, one for each (row block, column block) of the
//           granularity, row-major.
//   zeros   one code for each scale, where the scheme has them.
//   order   which column of the weights each position of a row holds; none: the column of its
//   number.
//           Codes, groups and columns of scales go by position, decoded values by column.
class PackedMatrix {
 public:
  PackedMatrix(size_t rows, size_t cols,
               const WeightScheme& scheme);  // all codes, scales, zeros and the exponent 0

  size_t rows() const { return rows_; }
  size_t cols() const { return cols_; }
  const WeightScheme& scheme() const { return scheme_; }

  const ScaleShape& scales() const { return shape_; }  // which weights share one
  size_t scale_rows() const { return shape_.rows; }
  size_t scale_cols() const { return shape_.cols; }

  Grid grid(size_t scale_row, size_t scale_col) const;
  // The scale must be one that can be stored beside exponent().
  void set_grid(size_t scale_row, size_t scale_col, const Grid& grid);

  // The same of `int`, for integer kernels.
  Affine affine(size_t scale_row, size_t scale_col) const;
  void set_affine(size_t scale_row, size_t scale_col, const Affine& affine);

  int exponent() const { return exponent_; }
  void set_exponent(int exponent);  // scales that were set before change with it

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

  size_t StorageBits() const;
  double EffectiveBits() const;  // StorageBits per weight

  // SHA-256 of shape, HashedScheme, codes, scales, zeros, order, and an exponent that is not 0.
  std::string Sha256() const;

 private:
  size_t ScaleIndex(size_t scale_row, size_t scale_col) const;
  float Scale(size_t i) const;
  void SetScale(size_t i, float scale);

  WeightScheme scheme_;
  size_t rows_, cols_;
  ScaleShape shape_;
  size_t row_bytes_;
  int exponent_ = 0;
  std::vector<uint8_t> codes_;
  std::vector<uint8_t> scales_;  // as StoreScale writes them
  std::vector<uint8_t> zeros_;
  std::vector<uint32_t> order_;
};

}  // namespace quantref
