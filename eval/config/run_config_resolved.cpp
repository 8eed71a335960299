#include <nlohmann/json.hpp>

#include "eval/config/run_config.h"
#include "eval/support/public_name.h"
#include "eval/text/calibration_spec.h"
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
  if (entry.symmetric) json["symmetric"] = *entry.symmetric;
  if (entry.full_range) json["full_range"] = *entry.full_range;
  if (entry.zero_in_range) json["zero_in_range"] = *entry.zero_in_range;
  if (!entry.method.empty()) json["method"] = entry.method;
  return json;
}

Json ActivationsJson(const std::optional<ActivationScheme>& activations) {
  if (!activations) return "none";
  return {{"bits", activations->bits},
          {"granularity", activations->per_token ? "token" : "tensor"},
          {"dynamic", activations->dynamic}};
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

void PutCell(Json& json, const CellConfig& cell) {
  json["weights"] = SchemeJson(cell.quantize.weights);
  json["activations"] = ActivationsJson(cell.activations);
  json["keep"] = cell.quantize.keep;
  json["overrides"] = Json::array();
  for (const SchemeOverride& entry : cell.quantize.overrides)
    json["overrides"].push_back(OverrideJson(entry));
  for (const auto& [plugin, knobs] : cell.knobs) json[plugin] = KnobsJson(knobs);
}

std::string MethodName(const CellConfig& cell) {
  std::string name;
  for (const std::string& transform : cell.transforms) name += transform + "+";
  return name + cell.rounder;
}

// A method's name where it is all that the config says of it.
Json MethodJson(const CellConfig& cell, const Json& general) {
  Json own;
  PutCell(own, cell);
  if (own == general && (cell.label == MethodName(cell) || cell.label + "+rtn" == MethodName(cell)))
    return cell.label;
  Json json = {{"method", MethodName(cell)}, {"label", cell.label}};
  for (const auto& [key, value] : own.items()) {
    if (general.at(key) != value) json[key] = value;
  }
  return json;
}

Json QuantizeJson(const RunConfig& config) {
  Json general;
  PutCell(general, config.general);
  Json json = {{"methods", Json::array()}};
  for (const CellConfig& cell : config.cells) json["methods"].push_back(MethodJson(cell, general));
  json.update(general);
  return json;
}

Json ModelJson(const RunConfig::ModelChoice& model) {
  if (model.synthetic) return {{"synthetic", model.name}, {"seed", model.seed}};
  Json json = {{"name", PublicName(model.name)},
               {"dtype", model.weight_type == WeightType::kFp16 ? "fp16" : "native"},
               {"outliers", "none"}};
  if (model.outliers) {
    json["outliers"] = {{"channels", model.outliers->channels},
                        {"scale", model.outliers->scale},
                        {"seed", model.outliers->seed}};
  }
  return json;
}

Json CalibrationJson(const CalibrationSpec& calibration) {
  return {{"dataset", PublicName(calibration.dataset)},
          {"split", calibration.split},
          {"samples", calibration.samples},
          {"length", calibration.length},
          {"seeds", calibration.seeds},
          {"sequential", calibration.sequential},
          {"allow_overlap", calibration.allow_overlap}};
}

Json StopJson(const std::optional<StopRule>& stop) {
  if (!stop) return "none";
  return {{"delta_nll_halfwidth", stop->delta_nll_halfwidth},
          {"min_windows", stop->min_windows},
          {"seed", stop->seed}};
}

const char* BosRuleName(BosRule rule) {
  if (rule == BosRule::kAlways) return "always";
  return rule == BosRule::kNever ? "never" : "tokenizer";
}

Json MetricsJson(const Metrics& metrics) {
  Json json = {"ppl"};
  if (metrics.kl) json.push_back("kl");
  if (metrics.top1) json.push_back("top1");
  return json;
}

Json AccuracyJson(const RunConfig& config) {
  const RunConfig::Accuracy& accuracy = config.accuracy;
  const Json window = accuracy.window == 0 ? Json("protocol") : Json(accuracy.window);
  return {{"dataset", PublicName(accuracy.dataset)},
          {"split", accuracy.split},
          {"protocol", accuracy.protocol},
          {"window", window},
          {"bos", BosRuleName(accuracy.bos)},
          {"metrics", MetricsJson(accuracy.metrics)},
          {"order", accuracy.order == OrderRule::kText ? "text" : "random"},
          {"stop", StopJson(accuracy.stop)},
          {"path", config.path.kernels ? "kernel" : "simulated"},
          {"max_path_gap", config.path.max_gap},
          {"max_linear_gap", config.path.max_linear_gap}};
}

Json ThroughputJson(const ThroughputSpec& spec) {
  if (!spec.measure) return "none";
  return {{"kernels", spec.kernels}, {"standard_shapes", spec.standard_shapes},
          {"tokens", spec.tokens},   {"prefill", spec.prefill},
          {"decode", spec.decode},   {"repetitions", spec.repetitions},
          {"threads", spec.threads}};
}

Json ResolvedJson(const RunConfig& config) {
  Json json = {{"name", config.name},
               {"model", ModelJson(config.model)},
               {"quantize", QuantizeJson(config)}};
  if (!config.model.synthetic) {  // the sections that such a model refuses
    json["calibration"] = CalibrationJson(config.calibration);
    json["accuracy"] = AccuracyJson(config);
  }
  json["throughput"] = ThroughputJson(config.throughput);
  json["offline"] = config.sample_when_offline ? "sample" : "error";
  return json;
}

}  // namespace

std::string RunConfig::Resolved() const { return ResolvedJson(*this).dump(); }

std::string RunConfig::ResolvedForScores() const {
  Json json = ResolvedJson(*this);
  for (const char* section : {"name", "throughput", "offline"}) json.erase(section);
  return json.dump();
}

}  // namespace quantref
