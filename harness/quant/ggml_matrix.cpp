#include "harness/quant/ggml_matrix.h"

#include <fmt/format.h>

#include "harness/base/check.h"
#include "harness/base/sha256.h"
#include "harness/quant/ggml_blocks.h"

namespace quantref {

size_t StoredRow(size_t row, size_t head_rows) {
  if (head_rows == 0) return row;
  const size_t head = row / head_rows, in_head = row % head_rows, half = head_rows / 2;
  return head * head_rows + 2 * (in_head % half) + in_head / half;
}

GgmlMatrix::GgmlMatrix(const Tensor& tensor)
    : type_(tensor.blocks),
      rows_(tensor.shape.at(0)),
      cols_(tensor.shape.at(1)),
      head_rows_(tensor.head_rows),
      bytes_(tensor.data, tensor.bytes) {
  QR_CHECK(tensor.dtype == DType::kBlocks && DecodesGgml(type_));
  QR_CHECK_EQ(tensor.shape.size(), 2u);
  QR_CHECK(!tensor.plus_one);
}

void GgmlMatrix::DecodeRow(size_t row, std::span<float> values) const {
  QR_CHECK_LT(row, rows_);
  QR_CHECK_EQ(values.size(), cols_);
  const size_t row_bytes = bytes_.size() / rows_;
  DecodeGgml(type_, bytes_.subspan(StoredRow(row, head_rows_) * row_bytes, row_bytes), values);
}

std::string GgmlMatrix::Sha256() const {
  const std::string form =
      fmt::format("ggml {} {} {} {}\n", GgmlRow(type_).name, rows_, cols_, head_rows_);
  Sha256Stream hash;
  hash.Update(form.data(), form.size());
  hash.Update(bytes_.data(), bytes_.size());
  return hash.HexDigest();
}

}  // namespace quantref
