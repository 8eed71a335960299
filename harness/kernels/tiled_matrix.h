#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "harness/base/matrix.h"
#include "harness/base/rng.h"
#include "harness/kernels/qgemm_kernels.h"
#include "harness/quant/grid.h"
#include "harness/quant/packed_matrix.h"

namespace quantref {

// A quantized matrix in the kernels' layout (qgemm_kernels.h), made from the reference layout and
// back without loss. Codes of 5 to 7 bits take 8 here. Of formats with tables, scales are FP32 in
// the panels, whatever they are stored as; they are kept as they are stored, too.
class TiledMatrix {
 public:
  // Whether the kernels can take matrices with so many inputs: of evenly spaced codes and of
  // formats with sixteen levels, but not where scales go by column, nor where more than kMaxGroup
  // inputs share one.
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
  // Of two, that scales in the panels are to be multiplied by.
  int exponent() const { return plain_.wide_scales ? 0 : exponent_; }
  const QgemmWeights& plain() const { return plain_; }
  const float* levels() const { return levels_.data(); }  // kLevels of them, of a codebook

  size_t bytes() const;  // of the panels: what a product reads
  // The same of a matrix that is not there.
  static size_t BytesOf(size_t rows, size_t cols, const WeightScheme& scheme);
  size_t StorageBits() const;  // as PackedMatrix's: the format's, without filling

 private:
  TiledMatrix(size_t rows, size_t cols, const WeightScheme& scheme);
  void GetCodes(size_t row, std::span<uint8_t> codes) const;        // by position
  void GetStoredCodes(size_t row, std::span<uint8_t> codes) const;  // as the panels have them
  template <int kBits>
  void GetCodesOf(size_t row, std::span<uint8_t> codes) const;
  void GetCodebookCodes(size_t row, std::span<uint8_t> codes) const;
  // Of evenly spaced codes.
  struct Factors {
    float scale, zero;
  };
  Factors GroupFactors(size_t row, size_t group) const;
  void GetFactors(size_t panel, size_t group, float* scales, float* zeros) const;
  Grid GroupGrid(size_t row, size_t group) const;
  float ZeroOf(const Grid& grid) const;
  float StoredScale(size_t row, size_t group) const;
  float TableScale(size_t row, size_t group) const;
  uint8_t* Block(size_t panel, size_t group, size_t block) const;
  void SetCodes(size_t row, size_t group, std::span<const uint8_t> codes);
  void SetFactors(size_t row, size_t group, uint16_t scale, float zero);
  void SetTableFactors();
  void DrawTableScales(float scale, Rng& rng);

  WeightScheme scheme_;
  ScaleShape shape_;
  QgemmWeights plain_{};
  uint8_t turned_ = 0;  // bits of codes that the panels have turned round
  std::shared_ptr<uint8_t> data_;
  std::vector<uint32_t> order_;
  int exponent_ = 0;
  // Of a table.
  std::vector<float> levels_;
  float level_unit_ = 1;         // of scales in the panels
  std::vector<uint8_t> scales_;  // as StoreScale writes them
  ScaleFrame frame_;
};

}  // namespace quantref
