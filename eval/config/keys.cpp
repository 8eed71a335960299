#include "eval/config/keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <string_view>

#include "eval/record/schema.h"
#include "harness/model/synthetic.h"
#include "harness/quant/format.h"
#include "quantizers/registry.h"

namespace quantref {
namespace {

using Kind = ConfigKey::Kind;
using Keys = std::vector<ConfigKey>;

constexpr double kMostSamples = 1 << 20, kMostTokens = 1 << 16;
constexpr double kMostWindow = 1 << 24;
constexpr double kMostSeed = 9223372036854775807.0;
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

ConfigKey Required(ConfigKey key) {
  key.required = true;
  return key;
}

ConfigKey Above(ConfigKey key) {
  key.above_least = true;
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

ConfigKey Swept(ConfigKey key) {
  key.swept = true;
  return key;
}

Keys ModelKeys() {
  std::vector<std::string> shapes;
  for (const SyntheticShape& shape : SyntheticShapes()) shapes.emplace_back(shape.name);
  return {
      Required(Text("name", "", "of the experiment; records are named after it")),
      Swept(Text("model", "wikilm-28m",
                 "a bundled or fetched model, a Hugging Face folder, a .gguf file; or a map")),
      Swept(Text("model.name", "wikilm-28m",
                 "a bundled or fetched model, a Hugging Face folder, a .gguf file")),
      Choice("model.dtype", "native", {"native", "fp16"},
             "weights as the checkpoint has them, or rounded to FP16 first"),
      Choice("model.outliers", "none", {"none"},
             "a map: the activation outliers of a very large model, at the same function"),
      Above(Number("model.outliers.channels", "0.01", 0, 1,
                   "share of the hidden channels that get them")),
      Number("model.outliers.scale", "50", 1e-4, 1e4, "how loud they are"),
      Count("model.outliers.seed", "0", 0, kMostSeed, "which channels"),
      Swept(Choice("model.synthetic", "", shapes,
                   "in place of name: a shape with random weights, for throughput alone")),
      Count("model.seed", "0", 0, kMostSeed, "of those weights"),
  };
}

// What a matrix is rounded to, in the section and for what an override matches.
Keys SchemeKeys(const std::string& place, bool defaults) {
  const auto otherwise = [&](const char* value) { return defaults ? value : ""; };
  std::vector<std::string> formats;
  for (const NumberFormat* format : NumberFormats()) formats.emplace_back(format->name);
  return {
      Choice(place + "format", otherwise("int"), formats, "what codes stand for"),
      Count(place + "bits", otherwise("4"), 2, 8, "of a code", "bits"),
      OrWords(Count(place + "group", otherwise("128"), 0, 1 << 20,
                    "inputs that share a scale; row or 0: one scale an output row", "inputs"),
              {"row"}),
      Choice(place + "granularity", otherwise("group"), {"tensor", "row", "column", "group"},
             "what one scale holds for"),
      Flag(place + "symmetric", otherwise("false"), "no zero point"),
      Flag(place + "full_range", otherwise("false"), "symmetric: use the code -2^(bits-1) too"),
      Flag(place + "zero_in_range", otherwise("true"), "asymmetric: the range always contains 0"),
  };
}

Keys QuantizeKeys() {
  Keys keys = {
      OrList(
          Text("quantize.methods", "[]",
               "the cells besides the reference: a rounder, transforms and a rounder, or a map")),
      Required(Text("quantize.methods[].method", "", "transforms and a rounder, smoothquant+gptq")),
      Required(Text("quantize.methods[].label", "", "the cell's name")),
  };
  const Keys weights = SchemeKeys("quantize.weights.", true);
  std::copy(weights.begin(), weights.end(), std::back_inserter(keys));
  const Keys rest = {
      Choice("quantize.activations", "none", {"none"},
             "a map: inputs of quantized matrices are rounded, symmetrically"),
      Swept(Count("quantize.activations.bits", "8", 2, 8, "of a code", "bits")),
      Choice("quantize.activations.granularity", "token", {"token", "tensor"},
             "one scale a token, or one for the window"),
      Flag("quantize.activations.dynamic", "true",
           "false: the scale is that of the calibration text"),
      OrList(Text("quantize.keep", "[embed_tokens, lm_head]",
                  "globs of matrices that stay as they are")),
      Maps("quantize.overrides", "other values for what a glob matches; the last match wins"),
      Required(
          Text("quantize.overrides[].match", "", "a glob of matrices, layers.*.mlp.down_proj")),
      Flag("quantize.overrides[].keep", "false", "the matrices stay as they are"),
      Text("quantize.overrides[].method", "", "a rounder for them"),
  };
  std::copy(rest.begin(), rest.end(), std::back_inserter(keys));
  const Keys overrides = SchemeKeys("quantize.overrides[].", false);
  std::copy(overrides.begin(), overrides.end(), std::back_inserter(keys));
  for (ConfigKey& key : keys) {
    key.swept = key.swept || key.name == "quantize.weights.format" ||
                key.name == "quantize.weights.bits" || key.name == "quantize.weights.group" ||
                key.name == "quantize.weights.symmetric";
  }
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
  std::vector<const Plugin*> plugins(Rounders().begin(), Rounders().end());
  plugins.insert(plugins.end(), Transforms().begin(), Transforms().end());
  Keys keys;
  for (const Plugin* plugin : plugins)
    for (const Knob& knob : plugin->knobs()) keys.push_back(KnobKey(*plugin, knob));
  return keys;
}

Keys CalibrationKeys() {
  return {
      Text("calibration.dataset", "wikitext-2", "the text that methods calibrate on"),
      Text("calibration.split", "validation", "of the data set"),
      Swept(Count("calibration.samples", "128", 1, kMostSamples, "at random places", "windows")),
      Swept(Count("calibration.length", "2048", 1, kMostSamples,
                  "of each, cut to the model's context", "tokens")),
      OrList(Count("calibration.seeds", "[0]", 0, kMostSeed, "which windows; each is a cell")),
      Count("calibration.seed", "", 0, kMostSeed, "short for seeds with one value"),
      Flag("calibration.sequential", "true",
           "blocks are calibrated on what the quantized ones before them give"),
      Flag("calibration.allow_overlap", "false",
           "go on, stamped, where the samples hold too much of the test text"),
  };
}

Keys AccuracyKeys() {
  return {
      Text("accuracy.dataset", "wikitext-2", "a data set, or the path of a UTF-8 text file"),
      Text("accuracy.split", "test", "of the data set"),
      Swept(Text(
          "accuracy.protocol", "gptq-2048",
          "gptq-N, llamacpp-N, full-stride: how the text becomes windows, which tokens count")),
      OrWords(Count("accuracy.window", "protocol", 2, kMostWindow,
                    "the protocol's, or this many whatever its name says", "tokens"),
              {"protocol"}),
      Choice("accuracy.bos", "tokenizer", {"tokenizer", "always", "never"},
             "whether texts begin with BOS: as the tokenizer says"),
      OrList(Choice("accuracy.metrics", "[ppl, kl, top1]", {"ppl", "kl", "top1"},
                    "ppl alone saves the pass over the vocabulary")),
      Choice("accuracy.order", "random", {"random", "text"},
             "in which windows are measured; no figure depends on it"),
      Choice("accuracy.stop", "none", {"none"},
             "a map: windows in random order until the intervals are narrow"),
      Required(Above(Number("accuracy.stop.delta_nll_halfwidth", "", 0, kNoMost,
                            "half the width of the 95 % interval to stop at", "nats a token"))),
      Count("accuracy.stop.min_windows", "32", 8, 4294967296.0, "before the first look", "windows"),
      Count("accuracy.stop.seed", "0", 0, kMostSeed, "of the order"),
      Choice("accuracy.path", "kernel", {"kernel", "simulated"},
             "products by the kernels that are timed, or from decoded weights"),
      Above(Number("accuracy.max_path_gap", "1e-9", 0, kNoMost,
                   "the most that kernels may change logits, mean KL", "nats")),
      Above(Number("accuracy.max_linear_gap", "1e-5", 0, kNoMost,
                   "the most that they may change any linear, relatively")),
  };
}

Keys ThroughputKeys() {
  return {
      Choice("throughput", "true", {"none", "false", "true"},
             "what is timed: a map, or nothing (none, false)"),
      Flag("throughput.kernels", "true", "each distinct linear, beside FP16 and OpenBLAS"),
      Flag("throughput.standard_shapes", "true", "and shapes of 7B to 8B models"),
      OrList(Count("throughput.tokens", "[1, 8, 32, 128, 512]", 1, kMostTokens, "of those products",
                   "tokens")),
      Count("throughput.prefill", "512", 0, kMostTokens, "that models process at once", "tokens"),
      Count("throughput.decode", "64", 0, kMostTokens, "that follow one by one", "tokens"),
      Count("throughput.repetitions", "5", 1, kMostRepetitions, "of each, interleaved", "samples"),
      OrList(Count("throughput.threads", "[1]", 1, 1024, "each number is measured apart")),
  };
}

Keys OtherKeys() {
  return {
      Choice("offline", "error", {"sample", "error"},
             "without the data set: measure on the bundled text, or fail"),
      Maps("exclude", "of a study: points, or methods of points, that are left out"),
  };
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
    for (const auto& section : {ModelKeys(), QuantizeKeys(), PluginKeys(), CalibrationKeys(),
                                AccuracyKeys(), ThroughputKeys(), OtherKeys()})
      keys.insert(keys.end(), section.begin(), section.end());
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
