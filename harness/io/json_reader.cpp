#include "harness/io/json_reader.h"

#include <simdjson.h>

#include <algorithm>
#include <bit>
#include <nlohmann/json.hpp>

#include "harness/base/check.h"
#include "harness/io/file.h"
#include "harness/io/json_limits.h"
#include "harness/io/json_watched.h"

namespace quantref {

using nlohmann::json;
using simdjson::dom::element;
using simdjson::dom::element_type;

// What an element is made of.
struct JsonAccess {
  const void* document;
  size_t index;

  static element Of(const JsonValue& value) {
    return std::bit_cast<element>(JsonAccess{value.document_, value.index_});
  }
  static JsonValue From(element value) {
    const auto parts = std::bit_cast<JsonAccess>(value);
    JsonValue made;
    made.document_ = parts.document;
    made.index_ = parts.index;
    return made;
  }
};

struct JsonDocument::Parser {
  simdjson::dom::parser parser;
};

namespace {

element ElementOf(const JsonValue& value) { return JsonAccess::Of(value); }

// An object's keys are looked through for each that is looked for; of more than so many at once.
constexpr size_t kFewKeys = 24;

bool EachKeyOnce(simdjson::dom::object map) {
  std::vector<std::string_view> keys;
  for (const auto [key, value] : map) {
    if (keys.size() < kFewKeys && std::find(keys.begin(), keys.end(), key) != keys.end())
      return false;
    keys.push_back(key);
  }
  if (keys.size() <= kFewKeys) return true;
  std::sort(keys.begin(), keys.end());
  return std::adjacent_find(keys.begin(), keys.end()) == keys.end();
}

// Whether there are at most so many levels, and no object has a key twice.
bool IsStrict(element value, size_t levels) {
  if (value.is_object()) {
    const simdjson::dom::object map(value);
    if (levels == 0 || !EachKeyOnce(map)) return false;
    for (const auto [key, item] : map) {
      if (!IsStrict(item, levels - 1)) return false;
    }
  } else if (value.is_array()) {
    if (levels == 0) return false;
    for (const element item : simdjson::dom::array(value)) {
      if (!IsStrict(item, levels - 1)) return false;
    }
  }
  return true;
}

json CopyOf(element value) {
  switch (value.type()) {
    case element_type::OBJECT: {
      json::object_t items;
      for (const auto [key, item] : simdjson::dom::object(value))
        items.emplace(std::string(key), CopyOf(item));
      return items;
    }
    case element_type::ARRAY: {
      json::array_t items;
      for (const element item : simdjson::dom::array(value)) items.push_back(CopyOf(item));
      return items;
    }
    case element_type::STRING:
      return std::string(std::string_view(value));
    case element_type::INT64: {
      // nlohmann::json tells whole numbers by their sign.
      const int64_t number(value);
      return number < 0 ? json(number) : json(static_cast<uint64_t>(number));
    }
    case element_type::UINT64:
      return uint64_t(value);
    case element_type::DOUBLE:
      return double(value);
    case element_type::BOOL:
      return bool(value);
    case element_type::NULL_VALUE:
      break;
  }
  return nullptr;
}

}  // namespace

JsonValue::Kind JsonValue::kind() const {
  switch (ElementOf(*this).type()) {
    case element_type::OBJECT:
      return Kind::kMap;
    case element_type::ARRAY:
      return Kind::kList;
    case element_type::STRING:
      return Kind::kText;
    case element_type::INT64:
    case element_type::UINT64:
      return Kind::kWhole;
    case element_type::DOUBLE:
      return Kind::kNumber;
    case element_type::BOOL:
      return Kind::kFlag;
    case element_type::NULL_VALUE:
      break;
  }
  return Kind::kNull;
}

std::string_view JsonValue::Text() const {
  QR_CHECK(IsText());
  return std::string_view(ElementOf(*this));
}

bool JsonValue::Flag() const {
  QR_CHECK(IsFlag());
  return bool(ElementOf(*this));
}

double JsonValue::Number() const {
  QR_CHECK(IsNumber());
  return double(ElementOf(*this));
}

std::optional<uint64_t> JsonValue::Natural() const {
  uint64_t number = 0;
  if (kind() != Kind::kWhole || ElementOf(*this).get(number) != simdjson::SUCCESS)
    return std::nullopt;
  return number;
}

size_t JsonValue::size() const {
  if (IsMap()) return simdjson::dom::object(ElementOf(*this)).size();
  QR_CHECK(IsList());
  return simdjson::dom::array(ElementOf(*this)).size();
}

std::vector<JsonValue> JsonValue::Items() const {
  QR_CHECK(IsList());
  std::vector<JsonValue> items;
  items.reserve(size());
  for (const element item : simdjson::dom::array(ElementOf(*this)))
    items.push_back(JsonAccess::From(item));
  return items;
}

std::vector<std::pair<std::string_view, JsonValue>> JsonValue::Entries() const {
  QR_CHECK(IsMap());
  std::vector<std::pair<std::string_view, JsonValue>> entries;
  entries.reserve(size());
  for (const auto [key, value] : simdjson::dom::object(ElementOf(*this)))
    entries.emplace_back(key, JsonAccess::From(value));
  return entries;
}

std::optional<JsonValue> JsonValue::Find(std::string_view key) const {
  if (!IsMap()) return std::nullopt;
  for (const auto [name, value] : simdjson::dom::object(ElementOf(*this))) {
    if (name == key) return JsonAccess::From(value);
  }
  return std::nullopt;
}

json JsonValue::Copy() const { return CopyOf(ElementOf(*this)); }

std::string JsonValue::Dump(int indent) const { return Copy().dump(indent); }

JsonDocument::JsonDocument() : parser_(std::make_unique<Parser>()) {}
JsonDocument::JsonDocument(JsonDocument&&) noexcept = default;
JsonDocument& JsonDocument::operator=(JsonDocument&&) noexcept = default;
JsonDocument::~JsonDocument() = default;

bool JsonDocument::TryParse(std::string_view text) {
  element root;
  if (parser_->parser.parse(text.data(), text.size()).get(root) != simdjson::SUCCESS) return false;
  root_ = JsonAccess::From(root);
  return IsStrict(root, kMaxJsonDepth);
}

JsonDocument JsonDocument::Parse(std::string_view text, const std::string& where) {
  JsonDocument document;
  if (document.TryParse(text)) return document;
  // What is wrong is said there, or nothing is but that a whole number has more than 64 bits: such
  // are read as real ones.
  const std::string plain = ParseJsonWatched(text, where).dump();
  QR_CHECK(document.TryParse(plain));
  return document;
}

JsonDocument JsonDocument::Read(const std::filesystem::path& file) {
  return Parse(ReadFile(file, kMaxJsonFileBytes), file.string());
}

}  // namespace quantref
