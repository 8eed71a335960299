#include "eval/record/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "eval/record/schema.h"
#include "harness/base/check.h"

namespace quantref {
namespace {

// The schema as a tree: the fields of a map, by name.
struct Node {
  const RecordField* field = nullptr;  // nullptr: a whole record
  std::string_view name{};
  std::vector<Node> fields{};
};

// Appends to the map that the path is in, whose row stands before it.
void Add(Node& map, std::string_view path, const RecordField& field) {
  const size_t dot = path.find('.');
  if (dot == std::string_view::npos) {
    map.fields.push_back({&field, path});
    return;
  }
  std::string_view name = path.substr(0, dot);
  if (name.ends_with("[]")) name.remove_suffix(2);
  const auto around = std::ranges::find(map.fields, name, &Node::name);
  QR_CHECK(around != map.fields.end());
  Add(*around, path.substr(dot + 1), field);
}

void SortByName(Node& map) {
  std::ranges::sort(map.fields, {}, &Node::name);
  for (Node& field : map.fields) SortByName(field);
}

const Node& Tree() {
  static const Node tree = [] {
    Node root;
    for (const RecordField& field : RecordSchema()) Add(root, field.path, field);
    SortByName(root);
    return root;
  }();
  return tree;
}

const char* Expected(FieldType type) {
  switch (type) {
    case FieldType::kText:
      return "text";
    case FieldType::kFlag:
      return "true or false";
    case FieldType::kCount:
      return "a whole number, 0 or more";
    case FieldType::kNumber:
      return "a number";
    case FieldType::kInterval:
      return "the two ends of an interval";
    case FieldType::kTexts:
      return "a list of texts";
    case FieldType::kCounts:
      return "a list of whole numbers";
    case FieldType::kNumbers:
      return "a list of numbers";
    case FieldType::kMaps:
      return "a list of maps";
    case FieldType::kMap:
    case FieldType::kAnyMap:
      break;
  }
  return "a map";
}

// JSON has null in the place of a number that no double holds.
bool IsNumberOrNull(JsonValue value) { return value.IsNumber() || value.IsNull(); }

template <typename Fits>
bool IsListOf(JsonValue value, const Fits& fits) {
  if (!value.IsList()) return false;
  const std::vector<JsonValue> items = value.Items();
  return std::all_of(items.begin(), items.end(), fits);
}

bool IsOf(FieldType type, JsonValue value) {
  const auto is_text = [](JsonValue item) { return item.IsText(); };
  const auto is_count = [](JsonValue item) { return item.Natural().has_value(); };
  switch (type) {
    case FieldType::kText:
      return is_text(value);
    case FieldType::kFlag:
      return value.IsFlag();
    case FieldType::kCount:
      return is_count(value);
    case FieldType::kNumber:
      return IsNumberOrNull(value);
    case FieldType::kInterval:
      return value.IsNull() || (IsListOf(value, IsNumberOrNull) && value.size() == 2);
    case FieldType::kTexts:
      return IsListOf(value, is_text);
    case FieldType::kCounts:
      return IsListOf(value, is_count);
    case FieldType::kNumbers:
      return IsListOf(value, [](JsonValue item) { return item.IsNumber(); });
    case FieldType::kMaps:
      return value.IsList();
    case FieldType::kMap:
    case FieldType::kAnyMap:
      break;
  }
  return value.IsMap();
}

struct Rules {
  bool written;      // by this program
  bool synthetic;    // the record has no text
  bool interrupted;  // its run
};

Rules RulesOf(const RecordFields& record, bool written) {
  return {written, record.Flag("model.synthetic"), record.Flag("protocol.interrupted")};
}

bool MustBeThere(Presence presence, const Rules& rules) {
  switch (presence) {
    case Presence::kRequired:
      return true;
    case Presence::kRequiredOfText:
      return !rules.synthetic;
    case Presence::kRequiredOfComplete:
      return !rules.synthetic && !rules.interrupted;
    case Presence::kWritten:
      return rules.written;
    case Presence::kWrittenOfText:
      return rules.written && !rules.synthetic;
    case Presence::kOptional:
      break;
  }
  return false;
}

void CheckMap(const RecordFields& map, const Node& node, const Rules& rules);

void CheckField(const RecordFields& map, const Node& node, JsonValue value, const Rules& rules) {
  const FieldType type = node.field->type;
  const std::string name(node.name);
  if (!IsOf(type, value)) map.Fail(name, Expected(type), DescribeJson(value));
  if (type == FieldType::kMap) {
    CheckMap(map.Map(name), node, rules);
  } else if (type == FieldType::kMaps) {
    for (const RecordFields& item : map.Maps(name)) CheckMap(item, node, rules);
  }
}

void CheckMap(const RecordFields& map, const Node& node, const Rules& rules) {
  std::vector<bool> there(node.fields.size());
  for (const auto& [key, value] : map.json().Entries()) {
    const auto at = std::ranges::lower_bound(node.fields, key, {}, &Node::name);
    if (at != node.fields.end() && at->name == key) {
      there[static_cast<size_t>(at - node.fields.begin())] = true;
      CheckField(map, *at, value, rules);
    } else if (rules.written) {
      map.Fail(std::string(key), "a field of the schema", "another one");
    }
  }
  for (size_t i = 0; i < there.size(); ++i) {
    const RecordField& field = *node.fields[i].field;
    if (!there[i] && MustBeThere(field.presence, rules))
      map.Fail(std::string(node.fields[i].name), Expected(field.type), "nothing");
  }
}

}  // namespace

void CheckRecord(const RecordFields& record) { CheckMap(record, Tree(), RulesOf(record, false)); }

void CheckWritten(const RecordFields& record) { CheckMap(record, Tree(), RulesOf(record, true)); }

}  // namespace quantref
