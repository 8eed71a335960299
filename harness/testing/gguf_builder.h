#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace quantref::testing {

// Makes GGUF files, values by the numbers of their types (0 u8, ..., 12 f64; 8 string, 9 array).
// What is added gives a valid file; tests change its bytes, or the counts and places.
class GgufBuilder {
 public:
  GgufBuilder& U32(std::string_view key, uint32_t value);
  GgufBuilder& F32(std::string_view key, float value);
  GgufBuilder& Bool(std::string_view key, bool value);
  GgufBuilder& Text(std::string_view key, std::string_view value);
  GgufBuilder& Texts(std::string_view key, std::span<const std::string> values);
  GgufBuilder& Floats(std::string_view key, std::span<const float> values);
  GgufBuilder& Integers(std::string_view key, std::span<const int32_t> values);
  // Any bytes as the value of a type.
  GgufBuilder& Raw(std::string_view key, uint32_t type, std::string_view value);

  // shape as in the file: columns first. The data follow one another, at multiples of 32.
  GgufBuilder& Add(std::string name, uint32_t type, std::vector<uint64_t> shape, std::string bytes);
  GgufBuilder& AddFloats(std::string name, std::vector<uint64_t> shape,
                         std::span<const float> values);

  GgufBuilder& OverrideVersion(uint32_t version);
  GgufBuilder& OverrideTensorCount(uint64_t count);
  GgufBuilder& OverrideKeyCount(uint64_t count);
  GgufBuilder& OverridePlace(std::string name, uint64_t place);  // of a tensor that was added

  std::string Bytes() const;  // the whole file
  void Write(const std::filesystem::path& path) const;

  static std::string Number(uint64_t value, size_t bytes);  // little-endian
  static std::string String(std::string_view text);         // with its length

 private:
  struct Entry {
    std::string name;
    uint32_t type;
    std::vector<uint64_t> shape;
    std::string bytes;
    std::optional<uint64_t> place;
  };
  std::string Header() const;

  std::vector<std::string> keys_;  // with their values
  std::vector<Entry> entries_;
  uint32_t version_ = 3;
  std::optional<uint64_t> tensor_count_, key_count_;
};

}  // namespace quantref::testing
