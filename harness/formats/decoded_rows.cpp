#include "harness/formats/decoded_rows.h"

#include <fmt/format.h>

#include "harness/base/check.h"
#include "harness/base/sha256.h"

namespace quantref {

void DecodedRows::DecodeRow(size_t row, std::span<float> values) const {
  QR_CHECK_LT(row, rows_);
  QR_CHECK_EQ(values.size(), cols_);
  decode_(row, values);
}

size_t DecodedRows::StorageBits() const {
  size_t bytes = 0;
  for (const auto& part : stored_) bytes += part.size();
  return 8 * bytes;
}

std::string DecodedRows::Sha256() const {
  const std::string form = fmt::format("{} {} {}\n", form_, rows_, cols_);
  Sha256Stream hash;
  hash.Update(form.data(), form.size());
  for (const auto& part : stored_) hash.Update(part.data(), part.size());
  return hash.HexDigest();
}

}  // namespace quantref
