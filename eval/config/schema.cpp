#include "eval/config/schema.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "eval/config/keys.h"
#include "eval/support/resources.h"
#include "eval/support/text_table.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// Beyond these JSON's readers do not tell whole numbers apart.
constexpr double kMostExact = 9007199254740992.0;

Json Bound(double value) {
  return value == std::floor(value) ? Json(static_cast<int64_t>(value)) : Json(value);
}

Json Words(const std::vector<std::string>& words) {
  Json list = Json::array();
  for (const std::string& word : words) {
    if (word == "true" || word == "false") {
      list.push_back(word == "true");
    } else {
      list.push_back(word);
    }
  }
  return {{"enum", list}};
}

Json Range(const ConfigKey& key) {
  Json range = {{"type", key.kind == ConfigKey::Kind::kCount ? "integer" : "number"}};
  range[key.above_least ? "exclusiveMinimum" : "minimum"] = Bound(key.least);
  if (key.most < kMostExact) range["maximum"] = Bound(key.most);
  return range;
}

Json AnyOf(const std::vector<Json>& forms) {
  return forms.size() == 1 ? forms[0] : Json{{"anyOf", forms}};
}

Json ListOf(const Json& item) { return {{"type", "array"}, {"items", item}}; }

Json MapAt(const std::string& place);

// One value of the key, without the lists and maps that may stand for it.
std::vector<Json> ValueForms(const ConfigKey& key) {
  std::vector<Json> forms;
  switch (key.kind) {
    case ConfigKey::Kind::kText:
      forms.push_back({{"type", "string"}});
      break;
    case ConfigKey::Kind::kChoice:
      forms.push_back(Words(key.words));
      break;
    case ConfigKey::Kind::kFlag:
      forms.push_back({{"type", "boolean"}});
      break;
    case ConfigKey::Kind::kCount:
    case ConfigKey::Kind::kNumber:
      forms.push_back(Range(key));
      if (!key.words.empty()) forms.push_back(Words(key.words));
      break;
    case ConfigKey::Kind::kMaps:
      break;
  }
  if (key.name == "exclude") {
    forms.push_back({{"type", "object"}});  // its keys are those of the study
  } else if (HasChildren(key.name + "[]")) {
    forms.push_back(MapAt(key.name + "[]"));
  }
  return forms;
}

Json SchemaOf(const ConfigKey& key) {
  Json schema = {{"description", key.about}};
  if (!key.otherwise.empty())
    schema["description"] = key.about + " (default " + key.otherwise + ")";
  std::vector<Json> forms = ValueForms(key);
  const Json one = AnyOf(forms);
  if (HasChildren(key.name)) forms.push_back(MapAt(key.name));
  if (key.list || key.swept) forms.push_back(ListOf(one));
  if (key.name == "candidates")  // by their labels
    forms.push_back({{"type", "object"}, {"additionalProperties", {{"type", "string"}}}});
  schema.update(AnyOf(forms));
  return schema;
}

// A key of an entry that is one of the section, too.
Json Reference(const std::string& place) {
  std::string pointer = "#";
  for (size_t at = 0; at != std::string::npos;) {
    const size_t dot = place.find('.', at);
    pointer += "/properties/" + place.substr(at, dot - at);
    at = dot == std::string::npos ? dot : dot + 1;
  }
  return {{"$ref", pointer}};
}

Json MapAt(const std::string& place) {
  Json properties = Json::object(), required = Json::array();
  for (const ConfigChild& child : ConfigChildren(place)) {
    const ConfigKey* key = FindConfigKey(child.place);
    const bool own = child.place.starts_with(place);
    properties[child.key] = !own             ? Reference(child.place)
                            : key == nullptr ? MapAt(child.place)
                                             : SchemaOf(*key);
    if (key != nullptr && key->required) required.push_back(child.key);
  }
  Json map = {{"type", "object"}, {"additionalProperties", false}, {"properties", properties}};
  if (!required.empty()) map["required"] = required;
  return map;
}

// What the file's first comment says, up to the first line that ends a sentence.
std::string FirstComment(const fs::path& file) {
  std::ifstream text(file);
  std::string comment;
  for (std::string line; std::getline(text, line) && line.starts_with('#');) {
    if (!line.starts_with("# ") || line.starts_with("# yaml-language-server")) continue;
    comment += (comment.empty() ? "" : " ") + Printable(line.substr(2));
    if (comment.ends_with('.') || comment.ends_with('?')) break;
  }
  return comment;
}

}  // namespace

std::string ConfigSchema() {
  Json schema = {{"$schema", "http://json-schema.org/draft-07/schema#"},
                 {"title", "A config of QuantRef"}};
  schema.update(MapAt(""));
  return schema.dump(1) + "\n";
}

std::string ConfigKeysText(std::optional<size_t> width) {
  std::vector<std::vector<std::string>> rows;
  for (const ConfigKey& key : ConfigKeys()) {
    std::string text = fmt::format("{} ({}", key.about, key.Values());
    if (key.required) text += "; required";
    if (!key.otherwise.empty()) text += "; default " + key.otherwise;
    rows.push_back({key.name, text + (key.swept ? "; a list makes a study)" : ")")});
  }
  return RenderList(rows, width);
}

std::string ConfigsText(std::optional<size_t> width) {
  std::vector<std::vector<std::string>> rows;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(ConfigDir())) {
    if (entry.path().extension() != ".yaml") continue;
    const fs::path near = fs::proximate(entry.path());
    const bool below = !near.string().starts_with("..");
    rows.push_back({(below ? near : entry.path()).string(), FirstComment(entry.path())});
  }
  std::sort(rows.begin(), rows.end());
  return RenderList(rows, width);
}

}  // namespace quantref
