#include "eval/config/keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "eval/config/quantize_keys.h"
#include "eval/config/sections.h"
#include "eval/config/sweep.h"
#include "quantizers/registry.h"

namespace quantref {
namespace {

using Kind = ConfigKey::Kind;
using Keys = std::vector<ConfigKey>;
using Json = nlohmann::ordered_json;

constexpr std::string_view kMethod = "quantize.methods[]";

ConfigKey Text(std::string name, std::string otherwise, std::string about) {
  return {.name = std::move(name),
          .kind = Kind::kText,
          .otherwise = std::move(otherwise),
          .about = std::move(about)};
}

ConfigKey Choice(std::string name, std::string otherwise, std::vector<std::string> words,
                 std::string about) {
  return {.name = std::move(name),
          .kind = Kind::kChoice,
          .otherwise = std::move(otherwise),
          .about = std::move(about),
          .words = std::move(words)};
}

ConfigKey Maps(std::string name, std::string about) {
  return {.name = std::move(name),
          .kind = Kind::kMaps,
          .otherwise = "[]",
          .about = std::move(about),
          .list = true};
}

ConfigKey Required(ConfigKey key) {
  key.required = true;
  return key;
}

ConfigKey OrList(ConfigKey key) {
  key.list = true;
  return key;
}

// A number as people write it: 1e-9.
std::string Plain(double value) {
  std::string text = fmt::format("{}", value);
  if (const size_t at = text.find("e-0"); at != text.npos) text.erase(at + 2, 1);
  return text;
}

// An item of a list as YAML: a star alone would be an alias.
std::string Item(const Json& item) {
  if (!item.is_string()) return item.dump();
  const auto& text = item.get_ref<const std::string&>();
  return text.starts_with('*') ? item.dump() : text;
}

// The rows of a section; their defaults are the values of what it visits.
class KeyLister : public KeyVisitor {
 public:
  KeyLister(Keys& keys, std::string prefix) : keys_(keys), prefix_(std::move(prefix)) {}

  void Text(ConfigKey key, std::string& value) override { Add(std::move(key), Kind::kText, value); }
  void Flag(ConfigKey key, bool& value) override {
    Add(std::move(key), Kind::kFlag, value ? "true" : "false");
  }
  void Count(ConfigKey key, size_t& value) override {
    const bool is_word = !key.words.empty() && value == 0;
    const std::string otherwise = is_word ? key.words[0] : fmt::format("{}", value);
    Add(std::move(key), Kind::kCount, otherwise);
  }
  void Number(ConfigKey key, double& value) override {
    const bool is_word = !key.words.empty() && value == 0;
    const std::string otherwise = is_word ? key.words[0] : Plain(value);
    Add(std::move(key), Kind::kNumber, otherwise);
  }
  void Counts(ConfigKey key, std::vector<size_t>& values) override {
    key.list = true;
    Add(std::move(key), Kind::kCount, fmt::format("[{}]", fmt::join(values, ", ")));
  }
  void Word(ConfigKey key, std::string& word) override { Add(std::move(key), Kind::kChoice, word); }
  void Special(ConfigKey key, const std::function<void(YamlReader&)>&,
               const std::function<void(Json&)>& write) override {
    Json json;
    write(json);
    std::vector<std::string> items;
    for (const Json& item : json) items.push_back(Item(item));
    const Kind kind = key.kind;
    Add(std::move(key), kind, items.empty() ? "" : fmt::format("[{}]", fmt::join(items, ", ")));
  }

 protected:
  bool Goes(const ConfigKey&, bool present) override {
    has_default_ = present;
    return true;
  }
  bool EnterMap(ConfigKey key, bool) override {
    prefixes_.push_back(prefix_);
    const std::string below = prefix_ + key.name + ".";
    Add(std::move(key), Kind::kChoice, "none");
    prefix_ = below;
    return true;
  }
  void LeaveMap() override {
    prefix_ = prefixes_.back();
    prefixes_.pop_back();
  }

 private:
  void Add(ConfigKey key, Kind kind, const std::string& otherwise) {
    key.name = prefix_ + key.name;
    key.kind = kind;
    if (!key.required && std::exchange(has_default_, true)) key.otherwise = otherwise;
    keys_.push_back(std::move(key));
  }

  Keys& keys_;
  std::string prefix_;                 // "accuracy."
  bool has_default_ = true;            // the next row
  std::vector<std::string> prefixes_;  // of the maps around this one
};

Keys ModelKeys() {
  RunConfig::ModelChoice checkpoint, synthetic;
  synthetic.name.clear();
  Keys keys = {
      Required(Text("name", "", "of the experiment; records are named after it")),
      Text("model", checkpoint.name,
           "a bundled or fetched model, a Hugging Face folder, a .gguf file; or a map"),
  };
  KeyLister lister(keys, "model.");
  VisitModel(lister, checkpoint);
  VisitSynthetic(lister, synthetic);
  for (ConfigKey key :
       {Maps("candidates", "quantized checkpoints made elsewhere, each a cell; or LABEL: PATH"),
        Required(Text("candidates[].label", "", "the cell's name")),
        Required(Text("candidates[].path", "", "a .gguf file, or a folder as a model's"))})
    keys.push_back(std::move(key));
  return keys;
}

Keys OverrideKeysOf() {
  Keys keys = {
      Maps("quantize.overrides", "other values for what a glob matches; the last match wins")};
  KeyLister lister(keys, "quantize.overrides[].");
  OverrideKeys entry{.keep = false};
  VisitOverride(lister, entry);
  return keys;
}

// The rows of maps that a cell has none of have defaults, too.
Keys QuantizeKeys() {
  Keys keys = {OrList(Text("quantize.methods", "[]",
                           "the cells besides the reference: a rounder, transforms and a rounder, "
                           "these and qat or lora, full, or a map"))};
  KeyLister entry(keys, "quantize.methods[]."), lister(keys, "quantize.");
  std::string method, label;
  VisitMethod(entry, method, label);
  const size_t of_weights = keys.size();
  std::optional<SchemeKeys> weights = DefaultWeightKeys();
  VisitWeights(lister, weights);
  keys[of_weights].otherwise.clear();  // a map
  std::optional<ActivationKeys> activations = DefaultActivationKeys();
  VisitActivations(lister, activations);
  std::optional<KvScheme> cache;
  VisitKvCache(lister, cache);
  std::optional<BudgetSpec> budget;
  VisitBudget(lister, budget);
  KeyLister of_lora(keys, "quantize.lora.");
  LoraSpec lora;
  VisitLora(of_lora, lora);
  std::vector<std::string> keep = QuantizeSpec{}.keep;
  VisitKeep(lister, keep);
  const Keys overrides = OverrideKeysOf();
  keys.insert(keys.end(), overrides.begin(), overrides.end());
  for (const Plugin* plugin : AllPlugins()) {
    KeyLister of_plugin(keys, fmt::format("quantize.{}.", plugin->name()));
    Knobs knobs(plugin->knobs());
    VisitKnobs(of_plugin, knobs);
  }
  return keys;
}

template <typename Spec>
Keys KeysOfSection(const std::string& prefix, void (*visit)(KeyVisitor&, Spec&)) {
  Keys keys;
  KeyLister lister(keys, prefix);
  Spec spec;
  visit(lister, spec);
  return keys;
}

Keys AccuracyKeys() {
  Keys keys;
  KeyLister lister(keys, "accuracy.");
  RunConfig config;
  VisitAccuracy(lister, config.accuracy, config.path);
  return keys;
}

Keys ThroughputKeys() {
  Keys keys = {Choice("throughput", "true", {"none", "false", "true"},
                      "what is timed: a map, or nothing (none, false)")};
  KeyLister lister(keys, "throughput.");
  ThroughputSpec throughput;
  VisitThroughput(lister, throughput);
  return keys;
}

Keys OtherKeys() {
  Keys keys;
  KeyLister lister(keys, "");
  bool sample_when_offline = RunConfig{}.sample_when_offline;
  VisitOffline(lister, sample_when_offline);
  keys.push_back(Maps("exclude", "of a study: points, or methods of points, that are left out"));
  return keys;
}

// What the map at `prefix` ("a.b.") has as keys, added to `children`.
void AddChildren(std::string_view prefix, std::vector<ConfigChild>& children) {
  for (const ConfigKey& key : ConfigKeys()) {
    if (!key.name.starts_with(prefix)) continue;
    const std::string rest = key.name.substr(prefix.size());
    const std::string child = rest.substr(0, rest.find_first_of(".["));
    const bool known = std::any_of(children.begin(), children.end(),
                                   [&](const ConfigChild& other) { return other.key == child; });
    if (!known) children.push_back({child, std::string(prefix) + child});
  }
}

}  // namespace

const std::vector<ConfigKey>& ConfigKeys() {
  static const Keys all = [] {
    Keys keys;
    for (const auto& section :
         {ModelKeys(), QuantizeKeys(), KeysOfSection("calibration.", VisitCalibration),
          KeysOfSection("finetune.", VisitFinetune), AccuracyKeys(), ThroughputKeys(), OtherKeys()})
      keys.insert(keys.end(), section.begin(), section.end());
    for (ConfigKey& key : keys) key.swept = IsSwept(key.name);
    return keys;
  }();
  return all;
}

std::vector<ConfigChild> ConfigChildren(std::string_view place) {
  std::vector<ConfigChild> children;
  AddChildren(place.empty() ? std::string() : std::string(place) + ".", children);
  if (place == kMethod) {  // any key of the section that is other for this cell
    AddChildren("quantize.", children);
    std::erase_if(children, [](const ConfigChild& child) { return child.key == "methods"; });
  }
  return children;
}

bool HasChildren(std::string_view place) { return !ConfigChildren(place).empty(); }

const ConfigKey* FindConfigKey(std::string_view place) {
  const Keys& keys = ConfigKeys();
  const auto found = std::find_if(keys.begin(), keys.end(),
                                  [&](const ConfigKey& key) { return key.name == place; });
  return found == keys.end() ? nullptr : &*found;
}

}  // namespace quantref
