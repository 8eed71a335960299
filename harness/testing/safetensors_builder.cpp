#include "harness/testing/safetensors_builder.h"

#include <nlohmann/json.hpp>

#include "harness/testing/testing.h"

namespace quantref::testing {

SafetensorsBuilder& SafetensorsBuilder::Add(std::string name, std::string dtype,
                                            std::vector<size_t> shape, std::string bytes) {
  entries_.push_back({std::move(name), std::move(dtype), std::move(shape), std::move(bytes)});
  return *this;
}

SafetensorsBuilder& SafetensorsBuilder::AddFloats(std::string name, std::vector<size_t> shape,
                                                  std::span<const float> values) {
  return Add(std::move(name), "F32", std::move(shape), BytesOf(values));
}

SafetensorsBuilder& SafetensorsBuilder::Metadata(std::string key, std::string value) {
  metadata_.emplace_back(std::move(key), std::move(value));
  return *this;
}

SafetensorsBuilder& SafetensorsBuilder::OverrideHeader(std::string header) {
  header_ = std::move(header);
  return *this;
}

SafetensorsBuilder& SafetensorsBuilder::OverrideHeaderSize(uint64_t size) {
  header_size_ = size;
  return *this;
}

std::string SafetensorsBuilder::Header() const {
  if (header_) return *header_;
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  for (const auto& [key, value] : metadata_) header["__metadata__"][key] = value;
  size_t offset = 0;
  for (const Entry& entry : entries_) {
    const size_t end = offset + entry.bytes.size();
    header[entry.name] = {
        {"dtype", entry.dtype}, {"shape", entry.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  return text;
}

std::string SafetensorsBuilder::Data() const {
  std::string data;
  for (const Entry& entry : entries_) data += entry.bytes;
  return data;
}

std::string SafetensorsBuilder::Bytes() const {
  const std::string header = Header();
  const uint64_t size = header_size_.value_or(header.size());
  std::string bytes;
  for (int shift = 0; shift < 64; shift += 8) bytes += static_cast<char>((size >> shift) & 0xff);
  return bytes + header + Data();
}

void SafetensorsBuilder::Write(const std::filesystem::path& path) const {
  WriteFile(path, Bytes());
}

}  // namespace quantref::testing
