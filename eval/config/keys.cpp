#include "eval/config/keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "eval/config/read_activations.h"
#include "eval/config/read_quantize.h"
#include "eval/config/sections.h"
#include "eval/config/sweep.h"
#include "harness/quant/format.h"
#include "quantizers/registry.h"

namespace quantref {
namespace {

using Kind = ConfigKey::Kind;
using Keys = std::vector<ConfigKey>;
using Json = nlohmann::ordered_json;

constexpr double kNoMost = std::numeric_limits<double>::infinity();
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

ConfigKey Flag(std::string name, std::string otherwise, std::string about) {
  return {.name = std::move(name),
          .kind = Kind::kFlag,
          .otherwise = std::move(otherwise),
          .about = std::move(about)};
}

ConfigKey Count(std::string name, std::string otherwise, double least, double most,
                std::string about, std::string unit = {}) {
  return {.name = std::move(name),
          .kind = Kind::kCount,
          .otherwise = std::move(otherwise),
          .about = std::move(about),
          .least = least,
          .most = most,
          .unit = std::move(unit)};
}

ConfigKey Number(std::string name, std::string otherwise, double least, double most,
                 std::string about, std::string unit = {}) {
  ConfigKey key =
      Count(std::move(name), std::move(otherwise), least, most, std::move(about), std::move(unit));
  key.kind = Kind::kNumber;
  return key;
}

ConfigKey Maps(std::string name, std::string about) {
  return {.name = std::move(name),
          .kind = Kind::kMaps,
          .otherwise = "[]",
          .about = std::move(about),
          .list = true};
}

ConfigKey AboveLeast(ConfigKey key) {
  key.above_least = true;
  return key;
}

ConfigKey Required(ConfigKey key) {
  key.required = true;
  return key;
}

ConfigKey OrWords(ConfigKey key, std::vector<std::string> words) {
  key.words = std::move(words);
  return key;
}

ConfigKey OrList(ConfigKey key) {
  key.list = true;
  return key;
}

std::vector<std::string> NamesOf(std::span<const NumberFormat* const> formats) {
  std::vector<std::string> names;
  for (const NumberFormat* format : formats) names.emplace_back(format->name);
  return names;
}

// What a matrix is rounded to, in the section and for what an override matches.
Keys SchemeKeys(const std::string& place, bool defaults) {
  const auto otherwise = [&](const char* value) { return defaults ? value : ""; };
  return {
      Choice(place + "format", otherwise("int"), NamesOf(NumberFormats()), "what codes stand for"),
      Count(place + "bits", otherwise("4"), kMinBits, kMaxBits, "of a code", "bits"),
      OrWords(Count(place + "group", otherwise("128"), 0, kMostGroup,
                    "inputs that share a scale; row or 0: one scale an output row", "inputs"),
              {"row"}),
      Choice(place + "granularity", otherwise("group"), GranularityNames(),
             "what one scale holds for"),
      Flag(place + "double_quant", otherwise("false"),
           "FP32 scales (nf4, fp4, fp8) become 8-bit codes themselves"),
      Flag(place + "symmetric", otherwise("false"), "no zero point"),
      Flag(place + "full_range", otherwise("false"), "symmetric: use the code -2^(bits-1) too"),
      Flag(place + "zero_in_range", otherwise("true"), "asymmetric: the range always contains 0"),
  };
}

Keys KvCacheKeys();
Keys LoraKeys();

Keys QuantizeKeys() {
  Keys keys = {
      OrList(Text(
          "quantize.methods", "[]",
          "the cells besides the reference: a rounder, transforms and a rounder, these and qat or "
          "lora, full, or a map")),
      Required(Text("quantize.methods[].method", "",
                    "transforms and a rounder, smoothquant+gptq; and qat or lora")),
      Required(Text("quantize.methods[].label", "", "the cell's name")),
  };
  keys.push_back(Choice("quantize.weights", "", {"none"},
                        "a map; none: no matrix is quantized, as for kv_cache alone"));
  const Keys weights = SchemeKeys("quantize.weights.", true);
  std::copy(weights.begin(), weights.end(), std::back_inserter(keys));
  const Keys rest = {
      Choice("quantize.activations", "none", {"none"},
             "a map: inputs of quantized matrices are rounded, symmetrically"),
      Choice("quantize.activations.format", "int", NamesOf(ActivationFormats()),
             "what codes stand for"),
      Count("quantize.activations.bits", "8", kMinBits, kMaxBits, "of a code", "bits"),
      Choice("quantize.activations.granularity", "token", {"token", "tensor", "group"},
             "one scale a token, one for the window, or one for each group of a token's inputs"),
      Count("quantize.activations.group", "128", kLeastActivationGroup, kMostGroup,
            "inputs of a token that share a scale; implies granularity: group", "inputs"),
      Flag("quantize.activations.dynamic", "true",
           "false: the scale is that of the calibration text"),
      AboveLeast(OrWords(
          Number("quantize.activations.outlier_threshold", "none", 0, 1e6,
                 "LLM.int8(): channels with an |x| as large are multiplied in floating point"),
          {"none"})),
      Choice("quantize.activations.outlier_weights", "fp16", {"fp16", "int8"},
             "theirs: the original ones, kept in FP16, or those that the codes stand for"),
      OrList(Text("quantize.keep", "[embed_tokens, lm_head]",
                  "globs of matrices that stay as they are")),
      Maps("quantize.overrides", "other values for what a glob matches; the last match wins"),
      Required(
          Text("quantize.overrides[].match", "", "a glob of matrices, layers.*.mlp.down_proj")),
      Flag("quantize.overrides[].keep", "false", "the matrices stay as they are"),
      Text("quantize.overrides[].method", "", "a rounder for them"),
  };
  std::copy(rest.begin(), rest.end(), std::back_inserter(keys));
  for (const Keys& more : {SchemeKeys("quantize.overrides[].", false), KvCacheKeys(), LoraKeys()})
    std::copy(more.begin(), more.end(), std::back_inserter(keys));
  return keys;
}

ConfigKey KnobKey(const Plugin& plugin, const Knob& knob) {
  std::string name = fmt::format("quantize.{}.{}", plugin.name(), knob.name);
  std::string about(knob.about);
  switch (knob.kind) {
    case Knob::Kind::kFlag:
      return Flag(std::move(name), knob.otherwise != 0 ? "true" : "false", std::move(about));
    case Knob::Kind::kCount:
      return Count(std::move(name), fmt::format("{}", knob.otherwise), knob.least, knob.most,
                   std::move(about));
    case Knob::Kind::kReal:
      break;
  }
  return Number(std::move(name), fmt::format("{}", knob.otherwise), knob.least, knob.most,
                std::move(about));
}

Keys PluginKeys() {
  Keys keys;
  for (const Plugin* plugin : AllPlugins())
    for (const Knob& knob : plugin->knobs()) keys.push_back(KnobKey(*plugin, knob));
  return keys;
}

// A number as people write it: 1e-9.
std::string Plain(double value) {
  std::string text = fmt::format("{}", value);
  if (const size_t at = text.find("e-0"); at != text.npos) text.erase(at + 2, 1);
  return text;
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
    Add(std::move(key), Kind::kNumber, Plain(value));
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
    for (const Json& item : json)
      items.push_back(item.is_string() ? item.get<std::string>() : item.dump());
    const Kind kind = key.kind;
    Add(std::move(key), kind, items.empty() ? "" : fmt::format("[{}]", fmt::join(items, ", ")));
  }

 protected:
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
    if (!key.required) key.otherwise = otherwise;
    keys_.push_back(std::move(key));
  }

  Keys& keys_;
  std::string prefix_;                 // "accuracy."
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

Keys KvCacheKeys() {
  Keys keys;
  KeyLister lister(keys, "quantize.");
  std::optional<KvScheme> scheme = KvScheme{};
  VisitKvCache(lister, scheme);
  return keys;
}

Keys LoraKeys() {
  Keys keys;
  KeyLister lister(keys, "quantize.lora.");
  LoraSpec lora;
  VisitLora(lister, lora);
  return keys;
}

Keys CalibrationKeys() {
  Keys keys;
  KeyLister lister(keys, "calibration.");
  CalibrationSpec calibration;
  VisitCalibration(lister, calibration);
  return keys;
}

Keys FinetuneKeys() {
  Keys keys;
  KeyLister lister(keys, "finetune.");
  FinetuneSpec finetune;
  VisitFinetune(lister, finetune);
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

size_t CountLimit(double bound) {
  constexpr size_t kMost = ~size_t{0} / 2;
  return bound >= kMostSeed ? kMost : static_cast<size_t>(bound);
}

const std::vector<ConfigKey>& ConfigKeys() {
  static const Keys all = [] {
    Keys keys;
    for (const auto& section : {ModelKeys(), QuantizeKeys(), PluginKeys(), CalibrationKeys(),
                                FinetuneKeys(), AccuracyKeys(), ThroughputKeys(), OtherKeys()})
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

std::string ConfigKey::Values() const {
  std::string values =
      kind == Kind::kFlag ? "true, false" : fmt::format("{}", fmt::join(words, ", "));
  if (kind == Kind::kCount || kind == Kind::kNumber) {
    const auto shown = [](double x) {
      return x >= kMostSeed ? std::string("2^63-1") : fmt::format("{}", x);
    };
    std::string range = most == kNoMost ? fmt::format("above {}", least)
                        : above_least   ? fmt::format("above {} to {}", least, shown(most))
                                        : fmt::format("{} to {}", least, shown(most));
    if (!unit.empty()) range += " " + unit;
    values = range + (values.empty() ? "" : ", or " + values);
  }
  if (kind == Kind::kText) values = "text";
  if (kind == Kind::kMaps) values = "maps";
  return list ? "list: " + values : values;
}

}  // namespace quantref
