#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "harness/io/file_pieces.h"
#include "harness/io/tensor.h"

namespace quantref {

// A tensor that a file is to hold. `write` gives its bytes piece by piece, as many as dtype and
// shape say; it is called once, while the file is written.
struct TensorToWrite {
  std::string name;
  DType dtype;                // of safetensors
  std::vector<size_t> shape;  // row-major; empty: a scalar
  std::function<void(const ByteSink& sink)> write;

  size_t bytes() const;
};

// Writes a new safetensors file whole or not at all (file_pieces.h), with these texts as its
// __metadata__. Tensors of wider elements come first, so that all are aligned, else by name, which
// no two share. Throws Error where the disk does not take it; work may be cancelled
// (base/cancel.h).
void WriteSafetensors(const std::filesystem::path& path, std::vector<TensorToWrite> tensors,
                      const std::map<std::string, std::string>& metadata);

}  // namespace quantref
