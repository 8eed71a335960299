#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "harness/base/matrix.h"
#include "harness/io/mapped_file.h"
#include "harness/io/tensor.h"

namespace quantref {

// A safetensors file, memory-mapped: 8 bytes N (little-endian), N bytes of JSON
//   {"__metadata__": {"key": "value"},
//    "name": {"dtype": "F16", "shape": [2, 3], "data_offsets": [begin, end]}, ...}
// (may end in spaces), then the data, which the tensors cover without gap or overlap; offsets count
// from its start. https://huggingface.co/docs/safetensors. Nothing in the file is trusted: every
// Tensor handed out lies inside it, or is a copy of what does: files whose header was not padded
// hold tensors at addresses that no number of their type may have.
class SafetensorsFile {
 public:
  // Error names the file and the tensor at fault.
  static SafetensorsFile Open(const std::filesystem::path& path);

  const std::vector<Tensor>& tensors() const { return tensors_; }  // by name
  const Tensor* Find(std::string_view name) const;                 // nullptr if there is none

  size_t copied_bytes() const { return copied_bytes_; }  // of tensors that were not aligned

  const std::filesystem::path& path() const { return file_.path(); }
  std::span<const std::byte> file_bytes() const { return file_.bytes(); }  // header and data
  const MappedFile& file() const { return file_; }

 private:
  explicit SafetensorsFile(MappedFile file) : file_(std::move(file)) {}
  void CopyUnaligned();

  MappedFile file_;
  std::vector<Tensor> tensors_;
  std::vector<Matrix<std::byte>> copies_;
  size_t copied_bytes_ = 0;
};

}  // namespace quantref
