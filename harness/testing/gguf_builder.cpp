#include "harness/testing/gguf_builder.h"

#include <bit>

#include "harness/testing/safetensors_builder.h"
#include "harness/testing/testing.h"

namespace quantref::testing {
namespace {

constexpr size_t kAlignment = 32;
constexpr uint32_t kU32 = 4, kI32 = 5, kF32 = 6, kBool = 7, kString = 8, kArray = 9;

std::string ArrayOf(uint32_t type, size_t count, std::string_view elements) {
  return GgufBuilder::Number(type, 4) + GgufBuilder::Number(count, 8) + std::string(elements);
}

std::string Padded(std::string bytes) {
  bytes.resize((bytes.size() + kAlignment - 1) / kAlignment * kAlignment, '\0');
  return bytes;
}

}  // namespace

std::string GgufBuilder::Number(uint64_t value, size_t bytes) {
  std::string number;
  for (size_t i = 0; i < bytes; ++i) number += static_cast<char>(value >> (8 * i) & 0xff);
  return number;
}

std::string GgufBuilder::String(std::string_view text) {
  return Number(text.size(), 8) + std::string(text);
}

GgufBuilder& GgufBuilder::Raw(std::string_view key, uint32_t type, std::string_view value) {
  keys_.push_back(String(key) + Number(type, 4) + std::string(value));
  return *this;
}

GgufBuilder& GgufBuilder::U32(std::string_view key, uint32_t value) {
  return Raw(key, kU32, Number(value, 4));
}

GgufBuilder& GgufBuilder::F32(std::string_view key, float value) {
  return Raw(key, kF32, Number(std::bit_cast<uint32_t>(value), 4));
}

GgufBuilder& GgufBuilder::Bool(std::string_view key, bool value) {
  return Raw(key, kBool, Number(value ? 1 : 0, 1));
}

GgufBuilder& GgufBuilder::Text(std::string_view key, std::string_view value) {
  return Raw(key, kString, String(value));
}

GgufBuilder& GgufBuilder::Texts(std::string_view key, std::span<const std::string> values) {
  std::string elements;
  for (const std::string& value : values) elements += String(value);
  return Raw(key, kArray, ArrayOf(kString, values.size(), elements));
}

GgufBuilder& GgufBuilder::Floats(std::string_view key, std::span<const float> values) {
  return Raw(key, kArray, ArrayOf(kF32, values.size(), BytesOf(values)));
}

GgufBuilder& GgufBuilder::Integers(std::string_view key, std::span<const int32_t> values) {
  return Raw(key, kArray, ArrayOf(kI32, values.size(), BytesOf(values)));
}

GgufBuilder& GgufBuilder::Add(std::string name, uint32_t type, std::vector<uint64_t> shape,
                              std::string bytes) {
  entries_.push_back({std::move(name), type, std::move(shape), std::move(bytes), std::nullopt});
  return *this;
}

GgufBuilder& GgufBuilder::AddFloats(std::string name, std::vector<uint64_t> shape,
                                    std::span<const float> values) {
  return Add(std::move(name), 0, std::move(shape), BytesOf(values));
}

GgufBuilder& GgufBuilder::OverrideVersion(uint32_t version) {
  version_ = version;
  return *this;
}

GgufBuilder& GgufBuilder::OverrideTensorCount(uint64_t count) {
  tensor_count_ = count;
  return *this;
}

GgufBuilder& GgufBuilder::OverrideKeyCount(uint64_t count) {
  key_count_ = count;
  return *this;
}

GgufBuilder& GgufBuilder::OverridePlace(std::string name, uint64_t place) {
  for (Entry& entry : entries_) {
    if (entry.name == name) entry.place = place;
  }
  return *this;
}

std::string GgufBuilder::Header() const {
  std::string header = "GGUF" + Number(version_, 4) +
                       Number(tensor_count_.value_or(entries_.size()), 8) +
                       Number(key_count_.value_or(keys_.size()), 8);
  for (const std::string& key : keys_) header += key;
  size_t place = 0;
  for (const Entry& entry : entries_) {
    header += String(entry.name) + Number(entry.shape.size(), 4);
    for (const uint64_t dimension : entry.shape) header += Number(dimension, 8);
    header += Number(entry.type, 4) + Number(entry.place.value_or(place), 8);
    place += Padded(entry.bytes).size();
  }
  return header;
}

std::string GgufBuilder::Bytes() const {
  std::string bytes = Padded(Header());
  for (const Entry& entry : entries_) bytes += Padded(entry.bytes);
  return bytes;
}

void GgufBuilder::Write(const std::filesystem::path& path) const { WriteFile(path, Bytes()); }

}  // namespace quantref::testing
