#include "eval/config/sweep.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <iterator>
#include <map>
#include <optional>
#include <string_view>

#include "eval/support/yaml_reader.h"
#include "harness/base/error.h"

namespace quantref {
namespace {

// More points than anybody has the years for.
constexpr size_t kMaxPoints = 4096;

constexpr const char* kMethods = "quantize.methods";  // in `exclude`

// A key whose list is an axis of the grid; a value becomes part of the point's name behind the tag,
// a flag as one of two words.
struct SweptKey {
  const char *key, *tag;
  const char *if_true = "", *if_false = "";  // of flags
  bool flag() const { return *if_true != '\0'; }
};
// The slowest first: what is expensive to load changes least often.
constexpr SweptKey kSweptKeys[] = {
    {"model", ""},
    {"model.name", ""},
    {"model.synthetic", ""},
    {"accuracy.protocol", ""},
    {"calibration.dataset", ""},
    {"calibration.samples", "n"},
    {"calibration.length", "len"},
    {"calibration.sequential", "", "seq", "ref"},
    {"finetune.steps", "s"},
    {"quantize.weights.format", ""},
    {"quantize.weights.bits", "int"},
    {"quantize.weights.group", "g"},
    {"quantize.weights.symmetric", "", "sym", "asym"},
    {"quantize.activations.bits", "a"},
    {"quantize.kv_cache.bits", "kv"},
    {"quantize.budget.bits", "b"},
};

struct Axis {
  const SweptKey* swept;
  std::string key;
  std::vector<YAML::Node> values;
  std::vector<std::string> texts, labels;  // of each value
};

// A value for each axis.
using Places = std::vector<size_t>;

void Replace(const YAML::Node& root, std::string_view key, const YAML::Node& value) {
  const size_t dot = key.rfind('.');
  YAML::Node map = dot == std::string_view::npos ? root : NodeAt(root, key.substr(0, dot));
  map[std::string(key.substr(dot == std::string_view::npos ? 0 : dot + 1))] = value;
}

// Spellings of one value are one text: an axis has a value once, and `exclude` finds it.
std::string PlainText(const SweptKey& swept, const std::string& text) {
  const std::optional<bool> flag = ParseFlag(text);
  return swept.flag() && flag ? (*flag ? "true" : "false") : text;
}

std::string ValueText(const SweptKey& swept, const YAML::Node& value) {
  if (value.IsScalar()) return PlainText(swept, value.Scalar());
  YAML::Emitter flow;
  flow << YAML::Flow << value;
  return flow.c_str();
}

// What of a value goes into the point's name: of a folder its last part, of anything what may stand
// in a file's name.
std::string Label(const SweptKey& swept, const std::string& text) {
  const std::string_view key = swept.key;
  if (swept.flag()) return text == "true" ? swept.if_true : swept.if_false;
  if (key == "quantize.weights.group" && text == "0") return "row";
  const bool is_word = key == "quantize.weights.group" && !text.empty() &&
                       std::isalpha(static_cast<unsigned char>(text[0]));
  const std::string_view path = std::string_view(text).substr(0, text.find_last_not_of('/') + 1);
  std::string label = is_word ? "" : swept.tag;
  for (const char c : path.substr(path.rfind('/') + 1)) {
    const bool fits = std::isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '-';
    label += fits ? c : '_';
  }
  return label;
}

Axis ReadAxis(const SweptKey& swept, const YAML::Node& list, const std::string& where) {
  Axis axis{&swept, swept.key, {list.begin(), list.end()}, {}, {}};
  if (axis.values.empty()) throw Error("expected at least one value, found an empty list", where);
  for (const YAML::Node& value : axis.values) {
    axis.texts.push_back(ValueText(swept, value));
    std::string label = Label(swept, axis.texts.back());
    if (std::count(axis.labels.begin(), axis.labels.end(), label) > 0) {
      throw Error(fmt::format("expected different values, found '{}' twice", label), where,
                  "a point is named after its values; of folders their last part counts");
    }
    axis.labels.push_back(std::move(label));
  }
  return axis;
}

std::vector<Axis> ReadAxes(const YAML::Node& root, const std::string& file) {
  std::vector<Axis> axes;
  size_t points = 1;
  for (const SweptKey& swept : kSweptKeys) {
    const YAML::Node value = NodeAt(root, swept.key);
    if (!value.IsDefined() || !value.IsSequence()) continue;
    const std::string where = KeyPosition(file, value.Mark(), swept.key);
    axes.push_back(ReadAxis(swept, value, where));
    points *= axes.back().values.size();
    if (points > kMaxPoints)
      throw Error(fmt::format("expected a study of at most {} points, found more", kMaxPoints),
                  where);
  }
  return axes;
}

// An entry of `exclude`: values that a point must have to be left out, or to lose methods.
struct Exclusion {
  std::string where;
  std::map<size_t, std::vector<std::string>> values;  // by axis
  std::vector<std::string> methods;
};

Exclusion ReadExclusion(YamlReader yaml, const std::string& where, const std::vector<Axis>& axes) {
  Exclusion exclusion{where, {}, {}};
  for (size_t a = 0; a < axes.size(); ++a) {
    yaml.Set(axes[a].key, exclusion.values[a]);
    for (std::string& value : exclusion.values[a]) {
      value = PlainText(*axes[a].swept, value);
      const std::vector<std::string>& known = axes[a].texts;
      if (std::find(known.begin(), known.end(), value) != known.end()) continue;
      yaml.Fail(axes[a].key, fmt::format("one of {}", fmt::join(known, ", ")),
                "only values of the study can be left out");
    }
  }
  std::erase_if(exclusion.values, [](const auto& item) { return item.second.empty(); });
  yaml.Set(kMethods, exclusion.methods);
  yaml.RefuseUnknownKeys();
  if (exclusion.values.empty())
    throw Error("expected values of swept keys, found none", where,
                "for example {quantize.weights.bits: 2, quantize.weights.group: row}");
  return exclusion;
}

std::vector<Exclusion> ReadExclusions(const YAML::Node& root, const std::string& file,
                                      const std::vector<Axis>& axes) {
  YamlReader yaml(root, file);
  std::vector<Exclusion> exclusions;
  const std::vector<YamlReader> entries = yaml.Maps("exclude");
  for (const YamlReader& entry : entries)
    exclusions.push_back(ReadExclusion(entry, entry.Where(), axes));
  return exclusions;
}

bool Matches(const Exclusion& exclusion, const std::vector<Axis>& axes, const Places& choice) {
  return std::all_of(exclusion.values.begin(), exclusion.values.end(), [&](const auto& item) {
    const auto& [axis, values] = item;
    const std::string& value = axes[axis].texts[choice[axis]];
    return std::find(values.begin(), values.end(), value) != values.end();
  });
}

// Notes the methods that the point goes without. Returns whether it is left out itself.
bool Exclude(const std::vector<Exclusion>& exclusions, const std::vector<Axis>& axes,
             const Places& choice, SweepPoint& point) {
  bool excluded = false;
  for (const Exclusion& exclusion : exclusions) {
    if (!Matches(exclusion, axes, choice)) continue;
    excluded = excluded || exclusion.methods.empty();
    for (const std::string& method : exclusion.methods)
      point.excluded.push_back({method, exclusion.where});
  }
  return excluded;
}

// The next choice, the last axis running fastest; false behind the last one.
bool Next(const std::vector<Axis>& axes, Places& choice) {
  for (size_t a = axes.size(); a-- > 0;) {
    if (++choice[a] < axes[a].values.size()) return true;
    choice[a] = 0;
  }
  return false;
}

}  // namespace

bool IsSwept(std::string_view key) {
  return std::any_of(std::begin(kSweptKeys), std::end(kSweptKeys),
                     [&](const SweptKey& swept) { return swept.key == key; });
}

void ForEachPoint(
    YAML::Node root, const std::string& file,
    const std::function<void(const YAML::Node& tree, const SweepPoint& point)>& visit) {
  const std::vector<Axis> axes = ReadAxes(root, file);
  if (axes.empty()) return visit(root, {});
  const std::vector<Exclusion> exclusions = ReadExclusions(root, file, axes);
  root.remove("exclude");
  Places choice(axes.size(), 0);
  do {
    SweepPoint point;
    for (size_t a = 0; a < axes.size(); ++a) {
      Replace(root, axes[a].key, axes[a].values[choice[a]]);
      point.suffix += "-" + axes[a].labels[choice[a]];
      point.text +=
          fmt::format("{}{}: {}", a == 0 ? "" : ", ", axes[a].key, axes[a].texts[choice[a]]);
    }
    if (!Exclude(exclusions, axes, choice, point)) visit(root, point);
  } while (Next(axes, choice));
}

}  // namespace quantref
