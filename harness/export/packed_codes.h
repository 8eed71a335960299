#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/io/file_pieces.h"
#include "harness/model/weights.h"
#include "harness/quant/packed_matrix.h"

namespace quantref {

// What the writers of packed formats share.

// The codes of a quantized weight in the reference layout, in which it is or which is made of the
// kernels'.
std::shared_ptr<const PackedMatrix> AsPacked(const Weight& weight);

const WeightScheme& SchemeOfWeight(const Weight& weight);  // of one that AsPacked takes

// The codes of a row by column, wherever they stand; codes.size() == cols.
void GetColumnCodes(const PackedMatrix& packed, size_t row, std::span<uint8_t> codes);

// Of each column, which column of scales it has.
std::vector<int32_t> GroupsOfColumns(const PackedMatrix& packed);

// Throws Error, naming the matrix, where its columns have an order.
void RequireColumnsInPlace(const PackedMatrix& packed, const std::string& name);

// Codes of b bits one behind the other, from the least significant bit of the first word on: as
// 32-bit words, the last of which is filled with zeros.
size_t WordsFor(size_t codes, int bits);
void PackWords(std::span<const uint8_t> codes, int bits, std::span<uint32_t> words);

// The FP16 pattern of a scale. Throws Error, naming the matrix, where FP16 does not hold it: one
// below its normal numbers (ScaleType::kFp16 has an exponent for these).
uint16_t HalfScale(const PackedMatrix& packed, size_t scale_row, size_t scale_col,
                   const std::string& name);

// The same of all scales of rows or groups, in FP16: (groups, outputs).
void PutScalesByGroup(const PackedMatrix& packed, const std::string& name, const ByteSink& sink);

// Elements as they lie in memory, which is little-endian.
template <typename T>
std::string_view AsBytes(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

}  // namespace quantref
