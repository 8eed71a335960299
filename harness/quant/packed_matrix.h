#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "harness/base/matrix.h"
#include "harness/quant/scheme.h"

namespace quantref {

struct Affine;

// Stored bits of a quantized matrix: codes by whole bytes of a row, 16 for each scale, b for each
// zero point, and where the columns are permuted, ceil(log2(cols)) for each; without an exponent,
// which adds kExponentBits where it is not 0.
inline constexpr size_t kExponentBits = 8;
inline constexpr int kMostExponent = 80;  // its magnitude
size_t PackedStorageBits(size_t rows, size_t cols, const WeightScheme& scheme, bool ordered);

// A quantized (out, in) matrix. Layout (the reference layout; kernels may repack):
//   codes   row after row; in a row, code j takes the bits [j*b, (j+1)*b) counted from the least
//   significant bit of the
//           row's first byte; a row ends on a whole byte.
//   scales  FP16, one for each (row block, column block) of the granularity, row-major; times
//           2^exponent, one for the matrix, 0 unless FP16 alone would lose small scales.
//   zeros   one code for each scale, asymmetric only.
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

  // The grid of scales: (1, 1) for tensor, (rows, 1) for row, (1, cols) for column, (rows, cols /
  // group) for group.
  size_t scale_rows() const { return scale_rows_; }
  size_t scale_cols() const { return scale_cols_; }
  size_t rows_per_scale() const { return rows_ / scale_rows_; }
  size_t cols_per_scale() const { return cols_ / scale_cols_; }

  Affine affine(size_t scale_row, size_t scale_col) const;
  // The scale must be an FP16 number times 2^exponent().
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

  // SHA-256 of shape, scheme, codes, scales, zeros, order, and an exponent that is not 0.
  std::string Sha256() const;

 private:
  size_t ScaleIndex(size_t scale_row, size_t scale_col) const;

  WeightScheme scheme_;
  size_t rows_, cols_, scale_rows_, scale_cols_, row_bytes_;
  int exponent_ = 0;
  std::vector<uint8_t> codes_;
  std::vector<uint16_t> scales_;  // FP16 patterns
  std::vector<uint8_t> zeros_;
  std::vector<uint32_t> order_;
};

}  // namespace quantref
