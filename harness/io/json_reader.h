#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace quantref {

// A JSON document, parsed strictly (json_file.h says what is refused) by simdjson (Langdale &
// Lemire 2019, arXiv:1902.08318), and looked at where it lies: no maps are made of it.

// A value in a document, which must outlive it. Cheap to copy.
class JsonValue {
 public:
  enum class Kind { kNull, kFlag, kWhole, kNumber, kText, kList, kMap };

  Kind kind() const;
  bool IsNull() const { return kind() == Kind::kNull; }
  bool IsText() const { return kind() == Kind::kText; }
  bool IsFlag() const { return kind() == Kind::kFlag; }
  bool IsNumber() const { return kind() == Kind::kWhole || kind() == Kind::kNumber; }
  bool IsList() const { return kind() == Kind::kList; }
  bool IsMap() const { return kind() == Kind::kMap; }

  // Each of a value of that kind.
  std::string_view Text() const;
  bool Flag() const;
  double Number() const;                    // of whole ones, too
  std::optional<uint64_t> Natural() const;  // of any value; nothing unless it is whole and >= 0
  size_t size() const;                      // of lists and maps
  std::vector<JsonValue> Items() const;
  std::vector<std::pair<std::string_view, JsonValue>> Entries() const;  // as they stand there

  // Of any value; nothing unless it is a map that has the key.
  std::optional<JsonValue> Find(std::string_view key) const;

  // As nlohmann::json has it, and writes it: keys in order of their names; indent < 0: one line.
  nlohmann::json Copy() const;
  std::string Dump(int indent = -1) const;

 private:
  friend class JsonDocument;
  friend struct JsonAccess;
  JsonValue() = default;

  // simdjson::dom::element, whose header takes seconds to read.
  const void* document_ = nullptr;
  size_t index_ = 0;
};

class JsonDocument {
 public:
  // Error as ParseJson and ReadJsonFile (json_file.h).
  static JsonDocument Parse(std::string_view text, const std::string& where);
  static JsonDocument Read(const std::filesystem::path& file);

  JsonDocument(JsonDocument&&) noexcept;
  JsonDocument& operator=(JsonDocument&&) noexcept;
  ~JsonDocument();

  JsonValue root() const { return root_; }

 private:
  struct Parser;
  JsonDocument();
  bool TryParse(std::string_view text);

  std::unique_ptr<Parser> parser_;  // owns what values point to
  JsonValue root_;
};

}  // namespace quantref
