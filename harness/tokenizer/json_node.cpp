#include "harness/tokenizer/json_node.h"

#include <algorithm>

#include "harness/base/error.h"
#include "harness/io/json_file.h"

namespace quantref {
namespace {

constexpr size_t kMostShown = 80;

std::string Shown(const JsonValue& value) {
  if (value.IsMap()) return "an object";
  if (value.IsList()) return "a list";
  return value.IsText() ? Quoted(value.Text()) : value.Dump().substr(0, kMostShown);
}

}  // namespace

void JsonNode::Fail(const std::string& what, const std::string& hint) const {
  throw Error(path_.empty() ? what : path_ + ": " + what, *file_, hint);
}

void JsonNode::FailExpecting(std::string_view what) const {
  Fail("expected " + std::string(what) + ", found " + Shown(value_));
}

std::string JsonNode::Text() const {
  if (!value_.IsText()) FailExpecting("text");
  return std::string(value_.Text());
}

bool JsonNode::Flag() const {
  if (!value_.IsFlag()) FailExpecting("true or false");
  return value_.Flag();
}

uint32_t JsonNode::Id() const {
  const auto id = value_.Natural();
  if (!id || *id >= kIdsEnd) FailExpecting("a token id");
  return static_cast<uint32_t>(*id);
}

std::vector<JsonNode> JsonNode::Items() const {
  if (!value_.IsList()) FailExpecting("a list");
  std::vector<JsonNode> nodes;
  for (const JsonValue& item : value_.Items()) {
    nodes.emplace_back(item, path_ + "[" + std::to_string(nodes.size()) + "]", *file_);
  }
  return nodes;
}

const JsonNode& JsonNode::Map() const {
  if (!value_.IsMap()) FailExpecting("an object");
  return *this;
}

JsonNode JsonNode::At(const std::string& key, JsonValue value) const {
  return {value, path_.empty() ? key : path_ + "." + key, *file_};
}

JsonNode JsonNode::Get(std::string_view key) const {
  const auto found = Map().value_.Find(key);
  if (!found) Fail("expected the key " + Quoted(key) + ", found none");
  return At(std::string(key), *found);
}

std::optional<JsonNode> JsonNode::Find(std::string_view key) const {
  const auto found = Map().value_.Find(key);
  if (!found || found->IsNull()) return std::nullopt;
  return At(std::string(key), *found);
}

bool JsonNode::FlagOr(std::string_view key, bool otherwise) const {
  const auto found = Find(key);
  return found ? found->Flag() : otherwise;
}

void JsonNode::AllowOnly(std::initializer_list<std::string_view> keys) const {
  for (const auto& [key, value] : Map().value_.Entries()) {
    if (std::find(keys.begin(), keys.end(), key) != keys.end()) continue;
    At(std::string(key), value).Fail("is not known here, and may change the tokens");
  }
}

}  // namespace quantref
