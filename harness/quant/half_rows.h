#pragma once

#include <memory>
#include <span>
#include <string>

#include "harness/quant/encoded_matrix.h"

namespace quantref {

// values[i] = the FP16 number nearest to it, ties to even: RoundToHalf, for |values[i]| <=
// kMaxHalf.
void RoundToHalves(std::span<float> values);

// Another matrix's rows, each number rounded to FP16 when it is read. None may be beyond its range.
class HalfRows final : public EncodedMatrix {
 public:
  explicit HalfRows(std::shared_ptr<const EncodedMatrix> exact) : exact_(std::move(exact)) {}

  size_t rows() const override { return exact_->rows(); }
  size_t cols() const override { return exact_->cols(); }
  void DecodeRow(size_t row, std::span<float> values) const override {
    exact_->DecodeRow(row, values);
    RoundToHalves(values);
  }
  size_t StorageBits() const override { return exact_->StorageBits(); }
  std::string Sha256() const override;

 private:
  std::shared_ptr<const EncodedMatrix> exact_;
};

}  // namespace quantref
