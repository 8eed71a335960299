#include "eval/run_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "eval/nearest.h"
#include "eval/protocol.h"
#include "eval/stats.h"
#include "eval/yaml_reader.h"
#include "harness/base/error.h"
#include "quantizers/registry.h"

namespace quantref {
namespace {

constexpr size_t kMaxGroup = size_t{1} << 20;

const std::vector<std::string> kGranularities = {"tensor", "row", "column", "group"};

Granularity ParseGranularity(const std::string& name) {
  const auto found = std::find(kGranularities.begin(), kGranularities.end(), name);
  return static_cast<Granularity>(found - kGranularities.begin());
}

// `group: N` or `group: row` (also 0) and `granularity`, which must not contradict each other.
void ReadReach(YamlReader& yaml, std::optional<Granularity>& granularity,
               std::optional<size_t>& group) {
  if (yaml.Has("granularity"))
    granularity = ParseGranularity(yaml.Choice("granularity", kGranularities, ""));
  if (!yaml.Has("group")) return;
  const std::string text = yaml.Scalar("group", "a group size or 'row'");
  if (text.find_first_not_of("0123456789") != std::string::npos && text != "row")
    yaml.Fail("group", "a group size or 'row'");
  if (text == "row" || text == "0") {
    if (granularity && granularity != Granularity::kRow)
      yaml.Fail("group", "a group size, as granularity is not 'row'");
    granularity = Granularity::kRow;
    return;
  }
  if (granularity && granularity != Granularity::kGroup) {
    yaml.Fail("group",
              fmt::format("no group size beside granularity: {}", GranularityName(*granularity)));
  }
  size_t size = 0;
  yaml.Set("group", size, 1, kMaxGroup);
  group = size;
  granularity = Granularity::kGroup;
}

void ReadWeights(YamlReader yaml, WeightScheme& scheme) {
  yaml.Set("bits", scheme.bits, kMinBits, kMaxBits);
  std::optional<Granularity> granularity;
  std::optional<size_t> group;
  ReadReach(yaml, granularity, group);
  scheme.granularity = granularity.value_or(scheme.granularity);
  scheme.group = group.value_or(scheme.group);
  yaml.Set("symmetric", scheme.symmetric);
  yaml.Set("full_range", scheme.full_range);
  yaml.Set("zero_in_range", scheme.zero_in_range);
  yaml.RefuseUnknownKeys();
  if (scheme.full_range && !scheme.symmetric)
    yaml.Fail("full_range", "false, as symmetric is false");
  if (!scheme.zero_in_range && scheme.symmetric)
    yaml.Fail("zero_in_range", "true, as symmetric is true");
}

template <typename T, typename... Limits>
void ReadOptional(YamlReader& yaml, const char* key, std::optional<T>& value, Limits... limits) {
  if (!yaml.Has(key)) return;
  T read{};
  yaml.Set(key, read, limits...);
  value = read;
}

// `weights`: the general scheme, which holds where the entry says nothing.
SchemeOverride ReadOverride(YamlReader yaml, const WeightScheme& weights) {
  SchemeOverride entry;
  yaml.Set("match", entry.match);
  if (entry.match.empty()) yaml.Fail("match", "a pattern, like layers.*.mlp.down_proj");
  yaml.Set("keep", entry.keep);
  ReadOptional(yaml, "bits", entry.bits, kMinBits, kMaxBits);
  ReadReach(yaml, entry.granularity, entry.group);
  ReadOptional(yaml, "symmetric", entry.symmetric);
  ReadOptional(yaml, "full_range", entry.full_range);
  ReadOptional(yaml, "zero_in_range", entry.zero_in_range);
  yaml.RefuseUnknownKeys();
  const bool symmetric = entry.symmetric.value_or(weights.symmetric);
  if (entry.full_range.value_or(false) && !symmetric)
    yaml.Fail("full_range", "false, as symmetric is false");
  if (!entry.zero_in_range.value_or(true) && symmetric)
    yaml.Fail("zero_in_range", "true, as symmetric is true");
  if (entry.keep && (entry.bits || entry.granularity || entry.symmetric || entry.full_range ||
                     entry.zero_in_range)) {
    yaml.Fail("keep", "false, as the entry has values for what it would keep");
  }
  return entry;
}

void ReadMethods(YamlReader& yaml, std::vector<std::string>& methods) {
  yaml.Set("methods", methods);
  std::vector<std::string> known;
  for (const Rounder* rounder : Rounders()) known.emplace_back(rounder->name());
  for (size_t i = 0; i < methods.size(); ++i) {
    if (FindRounder(methods[i]) == nullptr) {
      throw Error(fmt::format("unknown method '{}'{}", methods[i], DidYouMean(methods[i], known)),
                  yaml.Where("methods"),
                  "fp16, the reference, is always measured and need not be named");
    }
    if (std::find(methods.begin(), methods.begin() + static_cast<std::ptrdiff_t>(i), methods[i]) !=
        methods.begin() + static_cast<std::ptrdiff_t>(i)) {
      throw Error(fmt::format("the method '{}' stands twice", methods[i]), yaml.Where("methods"));
    }
  }
}

void ReadQuantize(YamlReader yaml, RunConfig& config) {
  ReadMethods(yaml, config.methods);
  ReadWeights(yaml.Map("weights"), config.quantize.weights);
  if (yaml.Has("activations")) yaml.Choice("activations", {"none"}, "none");
  yaml.Set("keep", config.quantize.keep);
  for (YamlReader& entry : yaml.Maps("overrides"))
    config.quantize.overrides.push_back(ReadOverride(entry, config.quantize.weights));
  yaml.RefuseUnknownKeys();
}

void ReadModel(YamlReader& yaml, RunConfig& config) {
  if (!yaml.IsMap("model")) return yaml.Set("model", config.model);
  YamlReader model = yaml.Map("model");
  model.Set("name", config.model);
  const bool fp16 = model.Choice("dtype", {"native", "fp16"}, "native") == "fp16";
  config.weight_type = fp16 ? WeightType::kFp16 : WeightType::kNative;
  model.RefuseUnknownKeys();
}

void ReadCalibration(YamlReader yaml, RunConfig::Calibration& calibration) {
  yaml.Set("dataset", calibration.dataset);
  yaml.Set("split", calibration.split);
  yaml.Set("samples", calibration.samples, 1, size_t{1} << 20);
  yaml.Set("length", calibration.length, 1, size_t{1} << 20);
  yaml.Set("seed", calibration.seed, 0, static_cast<size_t>(-1) / 2);
  yaml.RefuseUnknownKeys();
}

void ReadMetrics(YamlReader& yaml, std::vector<std::string>& metrics) {
  static const std::vector<std::string> known = {"ppl", "kl", "top1"};
  yaml.Set("metrics", metrics);
  for (const std::string& metric : metrics) {
    if (std::find(known.begin(), known.end(), metric) != known.end()) continue;
    throw Error(fmt::format("unknown metric '{}'{}", metric, DidYouMean(metric, known)),
                yaml.Where("metrics"));
  }
  if (std::find(metrics.begin(), metrics.end(), "ppl") == metrics.end()) {
    yaml.Fail("metrics", "a list with ppl", "perplexity is always measured");
  }
}

StopRule ReadStop(YamlReader yaml) {
  StopRule stop;
  yaml.Set("delta_nll_halfwidth", stop.delta_nll_halfwidth);
  if (!(stop.delta_nll_halfwidth > 0)) {
    yaml.Fail("delta_nll_halfwidth", "a positive number of nats, like 0.002");
  }
  yaml.Set("min_windows", stop.min_windows, kMinBlocks, size_t{1} << 32);
  yaml.Set("seed", stop.seed, 0, static_cast<size_t>(-1) / 2);
  yaml.RefuseUnknownKeys();
  return stop;
}

void ReadAccuracy(YamlReader yaml, RunConfig::Accuracy& accuracy) {
  yaml.Set("dataset", accuracy.dataset);
  yaml.Set("split", accuracy.split);
  std::vector<std::string> protocols;
  for (const Protocol& protocol : Protocols()) protocols.push_back(protocol.name);
  accuracy.protocol = yaml.Choice("protocol", protocols, accuracy.protocol);
  ReadMetrics(yaml, accuracy.metrics);
  if (yaml.IsMap("stop")) {
    accuracy.stop = ReadStop(yaml.Map("stop"));
  } else {
    yaml.Choice("stop", {"none"}, "none");
  }
  yaml.RefuseUnknownKeys();
}

void CheckName(YamlReader& yaml, const std::string& name) {
  const auto fits = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
  };
  if (name.empty() || name.size() > 80 || name[0] == '.' ||
      !std::all_of(name.begin(), name.end(), fits)) {
    yaml.Fail("name", "up to 80 letters, digits, '.', '_' or '-'", "records are named after it");
  }
}

}  // namespace

RunConfig ReadRunConfig(const std::string& file, const std::vector<std::string>& assignments) {
  YAML::Node root = ReadYaml(file);
  for (const std::string& assignment : assignments) SetYaml(root, assignment);
  YamlReader yaml(root, file);
  RunConfig config;
  config.file = file;
  yaml.Set("name", config.name);
  CheckName(yaml, config.name);
  ReadModel(yaml, config);
  ReadQuantize(yaml.Map("quantize"), config);
  ReadCalibration(yaml.Map("calibration"), config.calibration);
  ReadAccuracy(yaml.Map("accuracy"), config.accuracy);
  if (yaml.Has("throughput"))
    yaml.Fail("throughput", "no such key", "this version does not measure throughput");
  config.sample_when_offline = yaml.Choice("offline", {"sample", "error"}, "error") == "sample";
  yaml.RefuseUnknownKeys();
  return config;
}

namespace {

using Json = nlohmann::ordered_json;

void PutScheme(Json& json, const WeightScheme& scheme) {
  json["bits"] = scheme.bits;
  json["granularity"] = GranularityName(scheme.granularity);
  if (scheme.granularity == Granularity::kGroup) json["group"] = scheme.group;
  json["symmetric"] = scheme.symmetric;
  if (scheme.symmetric) json["full_range"] = scheme.full_range;
  if (!scheme.symmetric) json["zero_in_range"] = scheme.zero_in_range;
}

Json OverrideJson(const SchemeOverride& entry) {
  Json json = {{"match", entry.match}};
  if (entry.keep) json["keep"] = true;
  if (entry.bits) json["bits"] = *entry.bits;
  if (entry.granularity) json["granularity"] = GranularityName(*entry.granularity);
  if (entry.group) json["group"] = *entry.group;
  if (entry.symmetric) json["symmetric"] = *entry.symmetric;
  if (entry.full_range) json["full_range"] = *entry.full_range;
  if (entry.zero_in_range) json["zero_in_range"] = *entry.zero_in_range;
  return json;
}

Json StopJson(const std::optional<StopRule>& stop) {
  if (!stop) return "none";
  return {{"delta_nll_halfwidth", stop->delta_nll_halfwidth},
          {"min_windows", stop->min_windows},
          {"seed", stop->seed}};
}

}  // namespace

std::string RunConfig::Resolved() const {
  Json weights, overrides_json = Json::array();
  PutScheme(weights, quantize.weights);
  for (const SchemeOverride& entry : quantize.overrides)
    overrides_json.push_back(OverrideJson(entry));
  const Json json = {
      {"name", name},
      {"model", {{"name", model}, {"dtype", weight_type == WeightType::kFp16 ? "fp16" : "native"}}},
      {"quantize",
       {{"methods", methods},
        {"weights", weights},
        {"activations", "none"},
        {"keep", quantize.keep},
        {"overrides", overrides_json}}},
      {"calibration",
       {{"dataset", calibration.dataset},
        {"split", calibration.split},
        {"samples", calibration.samples},
        {"length", calibration.length},
        {"seed", calibration.seed}}},
      {"accuracy",
       {{"dataset", accuracy.dataset},
        {"split", accuracy.split},
        {"protocol", accuracy.protocol},
        {"metrics", accuracy.metrics},
        {"stop", StopJson(accuracy.stop)}}},
      {"offline", sample_when_offline ? "sample" : "error"}};
  return json.dump();
}

}  // namespace quantref
