#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/io/file_pieces.h"
#include "harness/io/ggml_type.h"

namespace quantref {

// Makes a GGUF file (gguf.h has the layout), version 3: keys and tensors in the order in which they
// are added.
class GgufWriter {
 public:
  void U32(std::string_view key, uint64_t value);  // one of 32 bits
  void F32(std::string_view key, double value);
  void Bool(std::string_view key, bool value);
  void Text(std::string_view key, std::string_view value);
  void Texts(std::string_view key, std::span<const std::string> values);
  void Floats(std::string_view key, std::span<const float> values);
  void Integers(std::string_view key, std::span<const int32_t> values);

  // shape: rows before columns, whose number is a multiple of the type's block. `write` gives as
  // many bytes as that makes, piece by piece.
  void Add(std::string name, GgmlType type, std::vector<size_t> shape,
           std::function<void(const ByteSink& sink)> write);

  // A new file, whole or not at all (file_pieces.h); may be cancelled (base/cancel.h).
  void Write(const std::filesystem::path& path) const;

 private:
  struct Entry {
    std::string name;
    GgmlType type;
    std::vector<size_t> shape;
    std::function<void(const ByteSink& sink)> write;
    size_t bytes;
  };
  template <typename Number>
  void PutKey(std::string_view key, uint32_t type, const Number& number);
  void PutArray(std::string_view key, uint32_t type, size_t count);
  std::string Header() const;

  size_t keys_ = 0;
  std::string key_bytes_;
  std::vector<Entry> entries_;
};

}  // namespace quantref
