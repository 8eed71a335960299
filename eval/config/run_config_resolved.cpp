#include <algorithm>
#include <nlohmann/json.hpp>

#include "eval/config/run_config.h"
#include "eval/config/sections.h"
#include "eval/support/public_name.h"
#include "harness/quant/format.h"

namespace quantref {
namespace {

using Json = nlohmann::ordered_json;

Json SchemeJson(const WeightScheme& scheme) {
  Json json;
  if (scheme.format != &kIntFormat) json["format"] = scheme.format->name;
  json["bits"] = scheme.bits;
  json["granularity"] = GranularityName(scheme.granularity);
  if (scheme.granularity == Granularity::kGroup) json["group"] = scheme.group;
  if (scheme.format->allows_double_quant()) json["double_quant"] = scheme.double_quant;
  if (!scheme.format->affine()) return json;
  json["symmetric"] = scheme.symmetric;
  if (scheme.symmetric) json["full_range"] = scheme.full_range;
  if (!scheme.symmetric) json["zero_in_range"] = scheme.zero_in_range;
  return json;
}

Json OverrideJson(const SchemeOverride& entry) {
  Json json = {{"match", entry.match}};
  if (entry.keep) json["keep"] = true;
  if (entry.format != nullptr) json["format"] = entry.format->name;
  if (entry.bits) json["bits"] = *entry.bits;
  if (entry.granularity) json["granularity"] = GranularityName(*entry.granularity);
  if (entry.group) json["group"] = *entry.group;
  if (entry.double_quant) json["double_quant"] = *entry.double_quant;
  if (entry.symmetric) json["symmetric"] = *entry.symmetric;
  if (entry.full_range) json["full_range"] = *entry.full_range;
  if (entry.zero_in_range) json["zero_in_range"] = *entry.zero_in_range;
  if (!entry.method.empty()) json["method"] = entry.method;
  return json;
}

Json ActivationsJson(const std::optional<ActivationScheme>& activations) {
  if (!activations) return "none";
  Json json;
  if (activations->format != &kIntFormat) json["format"] = activations->format->name;
  json["bits"] = activations->bits;
  json["granularity"] = activations->group > 0   ? "group"
                        : activations->per_token ? "token"
                                                 : "tensor";
  if (activations->group > 0) json["group"] = activations->group;
  json["dynamic"] = activations->dynamic;
  if (const auto& outliers = activations->outliers) {
    json["outlier_threshold"] = outliers->threshold;
    json["outlier_weights"] = OutlierWeightsName(outliers->weights);
  }
  return json;
}

// The section as an object, its keys in the order of their rows.
class KeyWriter : public KeyVisitor {
 public:
  Json Written() const { return maps_.back().object; }

  void Text(ConfigKey key, std::string& value) override { Put(key, value); }
  void Path(ConfigKey key, std::string& value) override { Put(key, PublicName(value)); }
  void Flag(ConfigKey key, bool& value) override { Put(key, value); }
  void Count(ConfigKey key, size_t& value) override {
    const bool is_word = !key.words.empty() && value == 0;
    Put(key, is_word ? Json(key.words[0]) : Json(value));
  }
  void Number(ConfigKey key, double& value) override { Put(key, value); }
  void Counts(ConfigKey key, std::vector<size_t>& values) override { Put(key, values); }
  void Word(ConfigKey key, std::string& word) override { Put(key, word); }
  void Special(ConfigKey key, const std::function<void(YamlReader&)>&,
               const std::function<void(Json&)>& write) override {
    Json json;
    write(json);
    if (!json.is_null()) Put(key, json);
  }

 protected:
  bool EnterMap(ConfigKey key, bool present) override {
    if (present) {
      maps_.push_back({key.name, Json::object()});
    } else {
      Put(key, key.words[0]);
    }
    return present;
  }
  void LeaveMap() override {
    const Map inner = std::move(maps_.back());
    maps_.pop_back();
    maps_.back().object[inner.key] = inner.object;
  }

 private:
  struct Map {
    std::string key;
    Json object;
  };

  void Put(const ConfigKey& key, Json json) { maps_.back().object[key.name] = std::move(json); }

  std::vector<Map> maps_ = {{"", Json::object()}};  // the section, and maps that are entered
};

Json KvCacheJson(std::optional<KvScheme> scheme) {
  KeyWriter writer;
  VisitKvCache(writer, scheme);
  Json json = writer.Written().at("kv_cache");
  // There is no group then, and configs may not name one.
  if (scheme && scheme->keys == KvReach::kHead && scheme->values == KvReach::kHead)
    json.erase("group");
  return json;
}

Json KnobsJson(const Knobs& knobs) {
  Json json;
  for (const Knob& knob : knobs.declared()) {
    Json& value = json[std::string(knob.name)];
    if (knob.kind == Knob::Kind::kFlag) value = knobs.Flag(knob.name);
    if (knob.kind == Knob::Kind::kCount) value = knobs.Count(knob.name);
    if (knob.kind == Knob::Kind::kReal) value = knobs.Real(knob.name);
  }
  return json;
}

Json LoraJson(LoraSpec lora) {
  KeyWriter writer;
  VisitLora(writer, lora);
  return writer.Written();
}

// What only some configs have: their resolved keys, and all that is named after these, are without
// it what they are where no cell asks for it.
struct SometimesKeys {
  bool kv_cache = false, lora = false;
};

void PutCell(Json& json, const CellConfig& cell, const SometimesKeys& keys) {
  json["weights"] = cell.quantize.none ? Json("none") : SchemeJson(cell.quantize.weights);
  json["activations"] = ActivationsJson(cell.activations);
  if (keys.kv_cache) json["kv_cache"] = KvCacheJson(cell.kv_cache);
  if (keys.lora) json["lora"] = LoraJson(cell.lora);
  json["keep"] = cell.quantize.keep;
  json["overrides"] = Json::array();
  for (const SchemeOverride& entry : cell.quantize.overrides)
    json["overrides"].push_back(OverrideJson(entry));
  for (const auto& [plugin, knobs] : cell.knobs) json[plugin] = KnobsJson(knobs);
}

// A method's name where it is all that the config says of it.
Json MethodJson(const CellConfig& cell, const Json& general) {
  Json own;
  PutCell(own, cell, {general.contains("kv_cache"), general.contains("lora")});
  const std::string name = cell.MethodName();
  if (own == general && (cell.label == name || cell.label + "+rtn" == name)) return cell.label;
  Json json = {{"method", name}, {"label", cell.label}};
  for (const auto& [key, value] : own.items()) {
    if (general.at(key) != value) json[key] = value;
  }
  // What is not said would be the section's.
  if (!own.at("activations").is_object()) return json;
  for (const auto& [key, none] : {std::pair("outlier_threshold", "none"), {"format", "int"}}) {
    if (general.at("activations").contains(key) && !own.at("activations").contains(key))
      json["activations"][key] = none;
  }
  return json;
}

Json QuantizeJson(const RunConfig& config) {
  Json general;
  SometimesKeys keys{.kv_cache = config.general.kv_cache.has_value()};
  for (const CellConfig& cell : config.cells) {
    keys.kv_cache |= cell.kv_cache.has_value();
    keys.lora |= cell.training == Training::kLora;
  }
  PutCell(general, config.general, keys);
  Json json = {{"methods", Json::array()}};
  for (const CellConfig& cell : config.cells)
    if (!cell.IsCandidate()) json["methods"].push_back(MethodJson(cell, general));
  json.update(general);
  return json;
}

Json ModelJson(RunConfig::ModelChoice model) {
  KeyWriter writer;
  model.synthetic ? VisitSynthetic(writer, model) : VisitModel(writer, model);
  return writer.Written();
}

Json CalibrationJson(CalibrationSpec calibration) {
  KeyWriter writer;
  VisitCalibration(writer, calibration);
  return writer.Written();
}

Json FinetuneJson(FinetuneSpec finetune) {
  KeyWriter writer;
  VisitFinetune(writer, finetune);
  Json json = writer.Written();
  if (finetune.train.scales == TrainedScales::kRecomputed) json.erase("scales");
  return json;
}

Json AccuracyJson(RunConfig::Accuracy accuracy, RunConfig::Path path) {
  KeyWriter writer;
  VisitAccuracy(writer, accuracy, path);
  return writer.Written();
}

Json ThroughputJson(ThroughputSpec spec) {
  if (!spec.measure) return "none";
  KeyWriter writer;
  VisitThroughput(writer, spec);
  return writer.Written();
}

Json OfflineJson(bool sample_when_offline) {
  KeyWriter writer;
  VisitOffline(writer, sample_when_offline);
  return writer.Written();
}

Json ResolvedJson(const RunConfig& config) {
  Json json = {{"name", config.name}, {"model", ModelJson(config.model)}};
  for (const CellConfig& cell : config.cells) {
    if (cell.IsCandidate())
      json["candidates"].push_back({{"label", cell.label}, {"path", PublicName(cell.candidate)}});
  }
  json["quantize"] = QuantizeJson(config);
  if (!config.model.synthetic) {  // the sections that such a model refuses
    json["calibration"] = CalibrationJson(config.calibration);
    if (config.Trains()) json["finetune"] = FinetuneJson(config.finetune);
    json["accuracy"] = AccuracyJson(config.accuracy, config.path);
  }
  json["throughput"] = ThroughputJson(config.throughput);
  json.update(OfflineJson(config.sample_when_offline));
  return json;
}

}  // namespace

std::string RunConfig::Resolved() const { return ResolvedJson(*this).dump(); }

std::string RunConfig::ResolvedForScores() const {
  Json json = ResolvedJson(*this);
  for (const char* section : {"name", "throughput", "offline"}) json.erase(section);
  if (json.contains("finetune")) json["finetune"].erase("checkpoint");
  return json.dump();
}

}  // namespace quantref
