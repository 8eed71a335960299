#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "harness/formats/foreign_folder.h"
#include "harness/formats/matrix_tensors.h"
#include "harness/quant/scale.h"
#include "harness/quant/scheme.h"

namespace quantref {

// A matrix of codes of a format with a table of levels, under scales: its bytes are (nearly) what a
// PackedMatrix stores.
struct TableSource {
  size_t rows = 0, cols = 0;
  WeightScheme scheme{};
  ScaleFrame frame{};
  std::span<const std::byte> codes;  // as PackedMatrix has them, once `swapped` is undone
  bool swapped = false;              // the first of two codes of a byte is the upper half of it
  std::vector<uint8_t> scales;       // as StoreScale writes them
  std::string scales_name;           // of their tensor, for errors
  std::vector<std::span<const std::byte>> stored;  // of all that it is stored in
};

// A PackedMatrix with these bytes; where scales are negative, which it has none of but under
// nested ones, rows that decode. Throws Error where scales are not finite.
Weight ReadTable(const TableSource& source, const std::string& where,
                 std::vector<CountedNote>& notes);

// 8-bit floats (E4M3) under scales of blocks of (rows_each, cols_each) weights, the last of a row
// or column smaller.
struct Float8Source {
  std::string tool;  // in hashes: "fp8"
  size_t rows = 0, cols = 0, rows_each = 1, cols_each = 1;
  const Tensor* codes = nullptr;
  const Tensor* scales = nullptr;  // by blocks, row-major; U8: powers of two
  std::vector<std::span<const std::byte>> stored;
};

// As the tables print it: "fp8_e4m3 row", "fp8_e4m3 block 128x128".
std::string Float8Name(const Float8Source& source);

StoredCodes CodesOf(const Float8Source& source);

// A PackedMatrix of fp8_e4m3 where it has such blocks, else rows that decode: FP32 products of a
// number and its scale. Throws Error for codes or scales that are not finite.
Weight ReadFloat8(const Float8Source& source, const std::string& where,
                  std::vector<CountedNote>& notes);

}  // namespace quantref
