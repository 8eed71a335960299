#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "eval/config/quantize_keys.h"
#include "eval/config/resolved_json.h"
#include "eval/config/run_config.h"
#include "eval/config/sections.h"
#include "eval/support/public_name.h"

namespace quantref {
namespace {

using Json = nlohmann::ordered_json;

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
  void Number(ConfigKey key, double& value) override {
    const bool is_word = !key.words.empty() && value == 0;
    Put(key, is_word ? Json(key.words[0]) : Json(value));
  }
  void Counts(ConfigKey key, std::vector<size_t>& values) override { Put(key, values); }
  void Word(ConfigKey key, std::string& word) override { Put(key, word); }
  void Special(ConfigKey key, const std::function<void(YamlReader&)>&,
               const std::function<void(Json&)>& write) override {
    Json json;
    write(json);
    if (!json.is_null()) Put(key, json);
  }

 protected:
  bool Goes(const ConfigKey&, bool present) override { return present; }
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

// What `visit` writes.
template <typename Visit>
Json Written(const Visit& visit) {
  KeyWriter writer;
  visit(writer);
  return writer.Written();
}

Json KvCacheJson(std::optional<KvScheme> scheme) {
  Json json = Written([&](KeyVisitor& writer) { VisitKvCache(writer, scheme); });
  // There is no group then, and configs may not name one.
  if (scheme && scheme->keys == KvReach::kHead && scheme->values == KvReach::kHead)
    json["kv_cache"].erase("group");
  return json;
}

Json BudgetJson(std::optional<BudgetSpec> budget) {
  return Written([&](KeyVisitor& writer) { VisitBudget(writer, budget); });
}

}  // namespace

Json OverridesJson(const std::vector<SchemeOverride>& overrides) {
  Json json = Json::array();
  for (const SchemeOverride& entry : overrides) {
    OverrideKeys keys = KeysOf(entry);
    json.push_back(Written([&](KeyVisitor& writer) { VisitOverride(writer, keys); }));
  }
  return json;
}

namespace {

Json LoraJson(LoraSpec lora) {
  return Written([&](KeyVisitor& writer) { VisitLora(writer, lora); });
}

// What only some configs have: their resolved keys, and all that is named after these, are without
// it what they are where no cell asks for it.
struct SometimesKeys {
  bool kv_cache = false, lora = false, budget = false;
};

void PutCell(Json& json, const CellConfig& cell, const SometimesKeys& keys) {
  std::optional<SchemeKeys> weights;
  if (!cell.quantize.none) weights = KeysOf(cell.quantize.weights);
  std::optional<ActivationKeys> activations;
  if (cell.activations) activations = KeysOf(*cell.activations);
  std::vector<std::string> keep = cell.quantize.keep;
  json = Written([&](KeyVisitor& writer) {
    VisitWeights(writer, weights);
    VisitActivations(writer, activations);
  });
  if (keys.kv_cache) json.update(KvCacheJson(cell.kv_cache));
  if (keys.budget) json.update(BudgetJson(cell.budget));
  if (keys.lora) json["lora"] = LoraJson(cell.lora);
  json.update(Written([&](KeyVisitor& writer) { VisitKeep(writer, keep); }));
  json["overrides"] = OverridesJson(cell.quantize.overrides);
  for (const auto& entry : cell.knobs) {
    Knobs knobs = entry.second;
    json[entry.first] = Written([&](KeyVisitor& writer) { VisitKnobs(writer, knobs); });
  }
}

// A method's name where it is all that the config says of it.
Json MethodJson(const CellConfig& cell, const Json& general) {
  Json own;
  PutCell(own, cell,
          {general.contains("kv_cache"), general.contains("lora"), general.contains("budget")});
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
  SometimesKeys keys{.kv_cache = config.general.kv_cache.has_value(),
                     .budget = config.general.budget.has_value()};
  for (const CellConfig& cell : config.cells) {
    keys.budget |= cell.budget.has_value();
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

}  // namespace

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

std::string RunConfig::Resolved() const { return ResolvedJson(*this).dump(); }

std::string RunConfig::ResolvedForScores() const { return ForScores(Resolved()); }

std::string ForScores(const std::string& resolved) {
  Json json = Json::parse(resolved);
  for (const char* section : {"name", "throughput", "offline"}) json.erase(section);
  const auto finetune = json.find("finetune");  // in a record of anyone's not always a map
  if (finetune != json.end() && finetune->is_object()) finetune->erase("checkpoint");
  return json.dump();
}

}  // namespace quantref
