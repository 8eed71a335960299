#include "eval/config/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "eval/config/keys.h"
#include "eval/config/words.h"
#include "eval/support/nearest.h"
#include "eval/support/yaml_reader.h"
#include "harness/base/error.h"
#include "harness/quant/format.h"

namespace quantref {
namespace {

constexpr size_t kMostNamesakes = 4;

// The key as it would stand in the config, or in an entry of `methods`.
std::string Shown(std::string_view name, std::string_view place) {
  constexpr std::string_view kSection = "quantize.";
  const bool relative = place == "quantize.methods[]" && name.starts_with(kSection);
  return std::string(relative ? name.substr(kSection.size()) : name);
}

// The keys of other maps that are called so.
std::vector<std::string> Namesakes(const std::string& key, std::string_view place) {
  std::vector<std::string> names;
  for (const ConfigKey& known : ConfigKeys()) {
    const size_t dot = known.name.rfind('.');
    if (dot == std::string::npos || known.name.find('[') != std::string::npos) continue;
    if (known.name.substr(dot + 1) == key) names.push_back(Shown(known.name, place));
  }
  return names.size() > kMostNamesakes ? std::vector<std::string>{} : names;
}

[[noreturn]] void Refuse(const std::string& key, std::string_view place, const std::string& where) {
  const auto meant = [&](const std::string& names, std::string_view hint) {
    throw Error(fmt::format("unknown key (did you mean {}?)", names), where, std::string(hint));
  };
  std::vector<std::string> valid;
  for (const ConfigChild& child : ConfigChildren(place)) valid.push_back(child.key);
  if (const FieldWord* word = FindFieldWord(key)) {
    if (word->key.empty()) throw Error("unknown key", where, std::string(word->note));
    const std::string last(word->key.substr(word->key.rfind('.') + 1));
    const bool here = std::find(valid.begin(), valid.end(), last) != valid.end();
    meant(fmt::format("'{}'", here ? last : Shown(word->key, place)), word->note);
  }
  const bool near = !NearestName(key, valid).empty();
  if (const auto names = Namesakes(key, place); !near && !names.empty())
    meant(fmt::format("'{}'", fmt::join(names, "' or '")), {});
  throw Error("unknown key" + DidYouMean(key, valid), where, "run_eval --list keys shows all");
}

void CheckNode(const YAML::Node& node, const std::string& file, const std::string& place,
               const std::string& path);

void CheckMap(const YAML::Node& map, const std::string& file, const std::string& place,
              const std::string& path) {
  const std::vector<ConfigChild> children = ConfigChildren(place);
  for (const auto& item : map) {
    const std::string key = item.first.Scalar();
    const std::string full = path.empty() ? key : path + "." + key;
    const auto child = std::find_if(children.begin(), children.end(),
                                    [&](const ConfigChild& known) { return known.key == key; });
    if (child == children.end()) Refuse(key, place, KeyPosition(file, item.first.Mark(), full));
    CheckNode(item.second, file, child->place, full);
  }
}

// Values are left to the readers; so are maps where none belongs, and `exclude`, whose keys are
// those of the study.
void CheckNode(const YAML::Node& node, const std::string& file, const std::string& place,
               const std::string& path) {
  const std::string entries = place + "[]";
  const bool list = HasChildren(entries);
  if (node.IsMap() && (list || HasChildren(place)))
    return CheckMap(node, file, list ? entries : place, path);
  if (!node.IsSequence()) return;
  for (size_t i = 0; i < node.size(); ++i) {
    const std::string& inner = list ? entries : place;
    if (node[i].IsMap() && HasChildren(inner))
      CheckMap(node[i], file, inner, fmt::format("{}[{}]", path, i));
  }
}

// What stands at `key` becomes a map, where it is short for one.
void Expand(YAML::Node& root, const std::string& key) {
  YAML::Node node = NodeAt(root, key);
  if (!node.IsDefined() || node.IsNull() || node.IsMap() || !HasChildren(key)) return;
  const ConfigKey* known = FindConfigKey(key);
  const size_t dot = key.rfind('.');
  YAML::Node map = dot == std::string::npos ? root : NodeAt(root, key.substr(0, dot));
  YAML::Node expanded(YAML::NodeType::Map);
  if (key == "model") {
    expanded["name"] = node;
  } else if (known == nullptr || !node.IsScalar() || !IsOneOf(node.Scalar(), known->words)) {
    return;
  }
  map[key.substr(dot == std::string::npos ? 0 : dot + 1)] = expanded;
}

// Pairs of which a map has one; the first goes only where the second is one of the values.
struct Rivals {
  const char *map, *key, *other;
};
constexpr Rivals kRivals[] = {
    {"calibration", "seed", "seeds"},
    {"model", "name", "synthetic"},
    {"quantize.weights", "group", "granularity"},
};

void DropRival(YAML::Node& root, const std::string& key, const std::string& value) {
  for (const Rivals& rivals : kRivals) {
    YAML::Node map = NodeAt(root, rivals.map);
    if (!map.IsDefined() || !map.IsMap()) continue;
    const std::string prefix = std::string(rivals.map) + ".";
    if (key == prefix + rivals.key) map.remove(rivals.other);
    // granularity: group says nothing against a group's size.
    if (key == prefix + rivals.other && value != "group") map.remove(rivals.key);
  }
}

// What the format that is set leaves no choice of, for the file's format had another.
void DropWhatFormatFixes(YAML::Node& root, const std::string& value) {
  const NumberFormat* format = FindFormat(value);
  YAML::Node map = NodeAt(root, "quantize.weights");
  if (format == nullptr || !map.IsDefined() || !map.IsMap()) return;
  std::vector<const char*> fixed;
  if (!format->affine()) fixed = {"symmetric", "full_range", "zero_in_range"};
  if (format->bits() > 0) fixed.push_back("bits");
  if (format->fixed_group) fixed.insert(fixed.end(), {"group", "granularity"});
  if (!format->allows_double_quant()) fixed.push_back("double_quant");
  for (const char* key : fixed) map.remove(key);
}

}  // namespace

void CheckConfigKeys(const YAML::Node& root, const std::string& file) {
  CheckMap(root, file, "", "");
}

void SetConfig(YAML::Node& root, const std::string& assignment) {
  const std::string key = assignment.substr(0, assignment.find('='));
  for (size_t dot = key.find('.'); dot != std::string::npos; dot = key.find('.', dot + 1))
    Expand(root, key.substr(0, dot));
  SetYaml(root, assignment);
  const std::string value = assignment.substr(std::min(key.size() + 1, assignment.size()));
  DropRival(root, key, value);
  if (key == "quantize.weights.format") DropWhatFormatFixes(root, value);
}

}  // namespace quantref
