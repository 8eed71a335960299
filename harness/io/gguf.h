#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "harness/io/gguf_value.h"
#include "harness/io/mapped_file.h"
#include "harness/io/tensor.h"

namespace quantref {

// A GGUF file, memory-mapped: little-endian "GGUF", version (2 or 3), how many tensors and keys
// there are, the keys with their values, the tensors' names, shapes, types and places, and from the
// next multiple of general.alignment on the data
// (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). Nothing in the file is trusted:
// every count and length is compared with what is left of the file, and every Tensor lies inside
// it. Tensors have the names, shapes (turned round: rows before columns) and types of the file; of
// those that are not plain numbers dtype is kBlocks.
class GgufFile {
 public:
  // Error names the file and the key or tensor at fault.
  static GgufFile Open(const std::filesystem::path& path);

  const std::vector<Tensor>& tensors() const { return tensors_; }  // by name
  const Tensor* Find(std::string_view name) const;                 // nullptr if there is none

  // A key's value; nothing where the key is not there. Error where it has another type.
  std::optional<uint64_t> Count(std::string_view key) const;  // of any type of whole numbers
  // FP32 numbers as the shortest decimal that names them: 1e-5, and not 9.99999975e-6.
  std::optional<double> Number(std::string_view key) const;
  std::optional<bool> Bool(std::string_view key) const;
  std::optional<std::string_view> Text(std::string_view key) const;
  std::optional<std::vector<std::string_view>> Texts(std::string_view key) const;
  std::optional<std::vector<float>> Floats(std::string_view key) const;
  std::optional<std::vector<int64_t>> Integers(std::string_view key) const;  // at most 2^63 - 1
  bool Has(std::string_view key) const { return values_.contains(key); }

  const std::map<std::string_view, GgufValue>& values() const { return values_; }

  const std::filesystem::path& path() const { return file_.path(); }
  const MappedFile& file() const { return file_; }
  // The keys and the list of tensors: all but the data.
  std::span<const std::byte> header() const { return file_.bytes().first(header_bytes_); }

 private:
  explicit GgufFile(MappedFile file) : file_(std::move(file)) {}
  [[noreturn]] void FailKey(std::string_view key, const std::string& expected,
                            const GgufValue& found) const;
  const GgufArray* Array(std::string_view key, const std::string& expected) const;

  MappedFile file_;
  std::map<std::string_view, GgufValue> values_;
  std::vector<Tensor> tensors_;
  size_t header_bytes_ = 0;
};

}  // namespace quantref
