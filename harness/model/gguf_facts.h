#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "harness/io/checkpoint.h"

namespace quantref {

// What a GGUF file stores a model's matrices in.
struct GgufFacts {
  struct Type {
    std::string name;  // ggml's: "Q4_K"
    size_t matrices = 0, weights = 0;
  };
  std::string architecture;        // as the file calls it
  std::vector<Type> types;         // that with the most weights first
  double bits = 0;                 // a weight of all matrices, scales included
  std::vector<double> layer_bits;  // of each block's matrices
  bool quantized = false;          // some are blocks

  std::string Summary() const;  // "Q4_1, Q8_0; 5.84 bits a weight"
};

// Nothing of a checkpoint whose gguf() is null.
GgufFacts DescribeGguf(const Checkpoint& checkpoint);

}  // namespace quantref
