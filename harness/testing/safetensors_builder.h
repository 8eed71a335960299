#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace quantref::testing {

// The elements' bytes as they lie in memory.
template <typename T>
std::string BytesOf(std::span<const T> values) {
  const auto bytes = std::as_bytes(values);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Makes safetensors files. What is added gives a valid file (if the bytes fit the shape and types
// of wider elements come first, which keeps all aligned); the Override functions let a test break
// one thing at a time.
class SafetensorsBuilder {
 public:
  // dtype as in the file: "F16". The data section holds the tensors in the order of the calls.
  SafetensorsBuilder& Add(std::string name, std::string dtype, std::vector<size_t> shape,
                          std::string bytes);
  SafetensorsBuilder& AddFloats(std::string name, std::vector<size_t> shape,
                                std::span<const float> values);
  SafetensorsBuilder& Metadata(std::string key, std::string value);

  // This text instead of the JSON header, with no padding; the header size follows it.
  SafetensorsBuilder& OverrideHeader(std::string header);
  SafetensorsBuilder& OverrideHeaderSize(uint64_t size);

  std::string Header()
      const;  // JSON, padded with spaces so that the data starts at a multiple of 8
  std::string Data() const;
  std::string Bytes() const;  // the whole file
  void Write(const std::filesystem::path& path) const;

 private:
  struct Entry {
    std::string name, dtype;
    std::vector<size_t> shape;
    std::string bytes;
  };
  std::vector<Entry> entries_;
  std::vector<std::pair<std::string, std::string>> metadata_;
  std::optional<std::string> header_;
  std::optional<uint64_t> header_size_;
};

}  // namespace quantref::testing
