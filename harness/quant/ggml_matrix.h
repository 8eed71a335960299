#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "harness/io/tensor.h"
#include "harness/quant/encoded_matrix.h"

namespace quantref {

// A matrix as a GGUF file has it. The file's memory must outlive it.
class GgmlMatrix final : public EncodedMatrix {
 public:
  // A tensor of blocks that DecodesGgml, in two dimensions; its head_rows are undone.
  explicit GgmlMatrix(const Tensor& tensor);

  size_t rows() const override { return rows_; }
  size_t cols() const override { return cols_; }
  void DecodeRow(size_t row, std::span<float> values) const override;
  size_t StorageBits() const override { return 8 * bytes_.size(); }
  std::string Sha256() const override;

 private:
  GgmlType type_;
  size_t rows_, cols_, head_rows_;
  std::span<const std::byte> bytes_;
};

// The stored row that has the model's row, where heads have so many rows (Tensor::head_rows).
size_t StoredRow(size_t row, size_t head_rows);

}  // namespace quantref
