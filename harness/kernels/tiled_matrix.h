#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "harness/base/matrix.h"
#include "harness/base/rng.h"
#include "harness/kernels/qgemm_kernels.h"
#include "harness/quant/affine.h"
#include "harness/quant/packed_matrix.h"

namespace quantref {

// A quantized matrix in the layout of the integer kernels (qgemm_kernels.h), made from the
// reference layout and back without loss. Codes of 5 to 7 bits take 8 here.
class TiledMatrix {
 public:
  // Whether the kernels can take matrices with so many inputs: of `int`, but not where scales go by
  // column, nor where more than kMaxGroup inputs share one.
  static bool Supports(const WeightScheme& scheme, size_t cols);

  explicit TiledMatrix(const PackedMatrix& packed);  // Supports(packed's)

  // Random codes, scales near 1 / sqrt(cols) and random zero points: a matrix to time, made without
  // any other form of it. granularity: group or row.
  static TiledMatrix Random(size_t rows, size_t cols, const WeightScheme& scheme, Rng& rng);

  PackedMatrix Unpack() const;
  // The values of rows [first, first + values.rows()), as PackedMatrix::DecodeRow.
  void DecodeRows(size_t first, MatrixView<float> values) const;

  // values (positions, kPanelRows): of these inputs, by position in ascending order, the weights of
  // the panel's outputs; of outputs beyond the last, zeros.
  void DecodeInputs(size_t panel, std::span<const uint32_t> positions, float* values) const;

  size_t rows() const { return plain_.rows; }
  size_t cols() const { return plain_.cols; }
  const WeightScheme& scheme() const { return scheme_; }
  std::span<const uint32_t> order() const { return order_; }
  int exponent() const { return exponent_; }  // as PackedMatrix's
  const QgemmWeights& plain() const { return plain_; }

  size_t bytes() const;  // of the panels: what a product reads
  // The same of a matrix that is not there.
  static size_t BytesOf(size_t rows, size_t cols, const WeightScheme& scheme);
  size_t StorageBits() const;  // as PackedMatrix's: the format's, without filling

 private:
  TiledMatrix(size_t rows, size_t cols, const WeightScheme& scheme);
  void GetCodes(size_t row, std::span<uint8_t> codes) const;  // by position
  template <int kBits>
  void GetCodesOf(size_t row, std::span<uint8_t> codes) const;
  Affine GroupAffine(size_t row, size_t group) const;
  template <int kBits>
  void DecodeInputsOf(size_t panel, std::span<const uint32_t> positions, float* values) const;
  uint8_t* Block(size_t panel, size_t group, size_t block) const;
  void SetGroup(size_t row, size_t group, std::span<const uint8_t> codes, uint16_t scale,
                uint8_t zero);

  WeightScheme scheme_;
  QgemmWeights plain_{};
  std::shared_ptr<uint8_t> data_;
  std::vector<uint32_t> order_;
  int exponent_ = 0;
};

}  // namespace quantref
