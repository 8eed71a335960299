#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/io/ggml_type.h"

namespace quantref {

// The element types of safetensors whose elements are whole bytes, and what has no elements of its
// own: blocks of a GgmlType.
enum class DType {
  kBool,
  kU8,
  kI8,
  kF8E4M3,
  kF8E5M2,
  kF8E8M0,
  kU16,
  kI16,
  kF16,
  kBF16,
  kU32,
  kI32,
  kF32,
  kU64,
  kI64,
  kF64,
  kC64,
  kBlocks,
};

struct DTypeRow {
  DType dtype;
  std::string_view name;  // as in the file: "F16"
  size_t bytes;           // of one element
};
std::span<const DTypeRow> DTypes();  // of safetensors: all but kBlocks

std::string_view DTypeName(DType dtype);
size_t DTypeBytes(DType dtype);

// A tensor as its file has it. What a GGUF file stores otherwise than a checkpoint of the same
// model in safetensors is told by the last three; Weight (harness/model/weights.h) undoes it.
struct Tensor {
  std::string name;
  DType dtype;
  std::vector<size_t> shape;  // row-major, the last dimension is contiguous; empty: a scalar
  const std::byte* data;      // aligned to the element size, alive as long as the file
  size_t bytes;               // of all of it

  GgmlType blocks = GgmlType::kF32;  // where dtype is kBlocks
  // 0, or the rows of a head, which are in another order: the model's row half * head_rows / 2 + i
  // of a head (half is 0 or 1) is the stored row 2 * i + half.
  size_t head_rows = 0;
  bool plus_one = false;  // one more than the model's numbers is stored

  std::string_view type_name() const;  // of dtype or blocks, as the file's format has it
};

}  // namespace quantref
