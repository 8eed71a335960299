#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/io/gguf_value.h"
#include "harness/io/tensor.h"

namespace quantref {

// What GgufFile::Open finds, for it alone.
struct GgufContents {
  std::map<std::string_view, GgufValue> values;
  std::vector<Tensor> tensors;  // by name
  size_t header_bytes = 0;
};
GgufContents ReadGguf(std::span<const std::byte> bytes, const std::string& where);

// One after the other what stands in an array of strings that ReadGguf has checked.
std::vector<std::string_view> StringsOf(const GgufArray& array);

// A number of an array that ReadGguf has checked; index < count.
GgufValue NumberAt(const GgufArray& array, size_t index);

}  // namespace quantref
