#pragma once

#include <cstddef>
#include <string>
#include <variant>

#include "harness/io/ggml_type.h"
#include "harness/quant/scheme.h"

namespace quantref {

// What codes of a file are where no WeightScheme says it.
struct BlockScheme {
  std::string format;                 // "Q4_K", "fp8_e4m3"
  int bits = 0;                       // of a code
  std::string granularity = "group";  // what shares a scale; or "block": of several rows
  size_t group = 0;                   // consecutive inputs, of "group"
  bool symmetric = true;              // no zero points or minima
  // Inputs of a block, of whose scale those of its groups are multiples; 0: a group is one.
  size_t block = 0;
};

// How a file has a matrix; nothing: as plain numbers.
using StoredCodes = std::variant<std::monostate, WeightScheme, BlockScheme>;

// Of a type that DecodesGgml.
StoredCodes CodesOf(GgmlType type);

}  // namespace quantref
