#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "harness/quant/encoded_matrix.h"

namespace quantref {

// A matrix that is decoded where it lies in its file, row by row. The file's memory must outlive
// it.
class DecodedRows final : public EncodedMatrix {
 public:
  using Decode = std::function<void(size_t row, std::span<float> values)>;

  // form: what it decodes to, with the shape and the bytes of `stored`. It is hashed: HashedForm
  // and the like, not what tables call it.
  DecodedRows(std::string form, size_t rows, size_t cols,
              std::vector<std::span<const std::byte>> stored, Decode decode)
      : form_(std::move(form)),
        rows_(rows),
        cols_(cols),
        stored_(std::move(stored)),
        decode_(std::move(decode)) {}

  size_t rows() const override { return rows_; }
  size_t cols() const override { return cols_; }
  void DecodeRow(size_t row, std::span<float> values) const override;
  size_t StorageBits() const override;
  std::string Sha256() const override;

 private:
  std::string form_;
  size_t rows_, cols_;
  std::vector<std::span<const std::byte>> stored_;
  Decode decode_;
};

}  // namespace quantref
