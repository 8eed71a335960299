#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/io/json_reader.h"

namespace quantref {

// A value of a JSON file whose errors say the file and where in it: "model.merges[3]". The document
// and the file's name must outlive it.
class JsonNode {
 public:
  static constexpr uint64_t kIdsEnd = uint64_t{1} << 31;

  JsonNode(JsonValue value, std::string path, const std::string& file)
      : value_(value), path_(std::move(path)), file_(&file) {}

  const JsonValue& value() const { return value_; }
  const std::string& file() const { return *file_; }

  // Error where it is none.
  std::string Text() const;
  bool Flag() const;
  uint32_t Id() const;  // whole, below kIdsEnd
  std::vector<JsonNode> Items() const;
  const JsonNode& Map() const;

  // Of a map.
  JsonNode Get(std::string_view key) const;                  // Error where it is missing
  std::optional<JsonNode> Find(std::string_view key) const;  // nothing where missing or null
  bool FlagOr(std::string_view key, bool otherwise) const;
  // Error where it has another key, which may change what the rest means.
  void AllowOnly(std::initializer_list<std::string_view> keys) const;

  [[noreturn]] void Fail(const std::string& what, const std::string& hint = {}) const;
  [[noreturn]] void FailExpecting(std::string_view what) const;

 private:
  JsonNode At(const std::string& key, JsonValue value) const;

  JsonValue value_;
  std::string path_;
  const std::string* file_;
};

}  // namespace quantref
