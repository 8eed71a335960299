#include "eval/record.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "eval/version.h"
#include "harness/base/error.h"
#include "harness/base/sha256.h"
#include "harness/io/file.h"

namespace quantref {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

Json SchemeJson(const WeightScheme& scheme) {
  Json json = {{"name", SchemeName(scheme)},
               {"bits", scheme.bits},
               {"granularity", GranularityName(scheme.granularity)},
               {"symmetric", scheme.symmetric}};
  if (scheme.granularity == Granularity::kGroup) json["group"] = scheme.group;
  if (scheme.symmetric) json["full_range"] = scheme.full_range;
  if (!scheme.symmetric) json["zero_in_range"] = scheme.zero_in_range;
  return json;
}

Json DatasetJson(const Text& text) {
  Json json = {{"name", text.dataset}};
  if (!text.split.empty()) json["split"] = text.split;
  json["sha256"] = text.sha256;
  if (text.substituted_sample) json["substituted_sample"] = true;
  return json;
}

Json ProtocolJson(const GroupResult& group) {
  const MeasuredWindows measured = Measured(group.measurement.scores[0], group.windows);
  size_t scored = 0;
  Json scored_each = Json::array();
  for (const Window& window : measured.windows) {
    scored += window.scored();
    scored_each.push_back(window.scored());
  }
  Json json = {{"name", group.protocol->name},         {"tokens", group.stream->ids.size()},
               {"windows", measured.windows.size()},   {"scored", scored},
               {"token_sha256", group.stream->sha256}, {"window_scored", scored_each}};
  if (measured.windows.size() == group.all_windows) return json;
  json["cut_from_windows"] = group.all_windows;
  json["stopped_early"] = group.measurement.stopped_early;
  for (size_t w = 0; w < group.windows.size(); ++w) {
    if (group.measurement.scores[0][w]) json["window_index"].push_back(w);
  }
  return json;
}

Json PairJson(double low, double high) { return Json::array({low, high}); }

void PutPerplexity(Json& json, const Perplexity& perplexity, bool whole_text) {
  json["ppl"] = perplexity.ppl;
  if (const auto& interval = perplexity.nll.interval) {
    json["ppl_ci95"] = PairJson(std::exp(interval->low), std::exp(interval->high));
    json["mean_nll_se"] = interval->standard_error;
  }
  json["mean_nll"] = perplexity.nll.mean;
  json["mean_nll_independent_se"] = perplexity.nll.independent_error;
  if (!whole_text) return;
  json["word_ppl"] = perplexity.word_ppl;
  json["bits_per_byte"] = perplexity.bits_per_byte;
}

void PutDelta(Json& json, const Comparison& comparison) {
  const Estimate& delta = comparison.delta_nll;
  json["delta_nll"] = delta.mean;
  json["delta_nll_independent_se"] = delta.independent_error;
  json["ppl_ratio"] = std::exp(delta.mean);
  if (!delta.interval) return;
  json["delta_nll_ci95"] = PairJson(delta.interval->low, delta.interval->high);
  json["delta_nll_se"] = delta.interval->standard_error;
  json["ppl_ratio_ci95"] = PairJson(std::exp(delta.interval->low), std::exp(delta.interval->high));
  json["minimum_detectable_delta_nll"] = comparison.minimum_detectable;
}

void PutDivergence(Json& json, const Comparison& comparison) {
  json["kl_mean"] = comparison.kl.mean;
  json["kl_independent_se"] = comparison.kl.independent_error;
  if (const auto& interval = comparison.kl.interval)
    json["kl_ci95"] = PairJson(interval->low, interval->high);
  json["kl_p50"] = comparison.kl_p50;
  json["kl_p90"] = comparison.kl_p90;
  json["kl_p99"] = comparison.kl_p99;
  json["kl_p999"] = comparison.kl_p999;
  json["kl_max"] = comparison.kl_max;
  json["top1_agreement"] = comparison.top1.mean;
  if (const auto& interval = comparison.top1.interval)
    json["top1_ci95"] = PairJson(interval->low, interval->high);
  json["top1_independent_se"] = comparison.top1.independent_error;
  json["probability_change_mean"] = comparison.probability_change;
  json["probability_change_rms"] = comparison.probability_change_rms;
}

Json WindowValues(const MeasuredWindows& measured, double WindowScores::*field) {
  Json values = Json::array();
  for (const WindowScores* scores : measured.scores) values.push_back(scores->*field);
  return values;
}

Json AccuracyJson(const GroupResult& group, const CellResult& cell) {
  const ScoreTable& scores = group.measurement.scores;
  const MeasuredWindows measured = Measured(scores[cell.model], group.windows);
  Json json;
  PutPerplexity(json, cell.perplexity, measured.windows.size() == group.all_windows);
  if (!cell.comparison) {
    json["window_nll"] = WindowValues(measured, &WindowScores::nll);
    return json;
  }
  const bool divergence = cell.config->accuracy.Compares();
  json["reference_ppl"] = cell.reference.ppl;
  json["reference_mean_nll"] = cell.reference.nll.mean;
  PutDelta(json, *cell.comparison);
  if (divergence) PutDivergence(json, *cell.comparison);
  for (const Against& other : cell.against) {
    json["against"].push_back(
        {{"config", other.config},
         {"method", other.method},
         {"delta_nll", other.delta_nll.mean},
         {"delta_nll_ci95", PairJson(other.delta_nll.low, other.delta_nll.high)}});
  }
  json["window_nll"] = WindowValues(measured, &WindowScores::nll);
  json["reference_window_nll"] =
      WindowValues(Measured(scores[0], group.windows), &WindowScores::nll);
  if (divergence) {
    json["window_kl"] = WindowValues(measured, &WindowScores::kl);
    json["window_same_top"] = WindowValues(measured, &WindowScores::same_top);
  }
  return json;
}

Json LayersJson(const std::vector<LayerReport>& layers) {
  Json json = Json::array();
  for (const LayerReport& layer : layers) {
    json.push_back({{"name", layer.name},
                    {"scheme", SchemeName(layer.scheme)},
                    {"bits", layer.effective_bits},
                    {"weight_mse", layer.weight_mse},
                    {"seconds", layer.seconds}});
  }
  return json;
}

Json EnvironmentJson(const Environment& environment) {
  return {{"cpu", environment.cpu},
          {"cores", environment.cores},
          {"threads", environment.threads},
          {"isa", environment.isa},
          {"compiler", environment.compiler},
          {"flags", environment.flags},
          {"blas", environment.blas},
          {"blas_core", environment.blas_core},
          {"os", environment.os}};
}

std::string NotWritable(const fs::path& folder) {
  return fmt::format("records cannot be written to {}", folder.string());
}

}  // namespace

Record MakeRecord(const GroupResult& group, const CellResult& cell) {
  const Json resolved = Json::parse(cell.config->Resolved());
  const LlamaConfig& shape = group.model->config;
  Json record;
  record["schema"] = kRecordSchema;
  record["created"] = UtcNow();
  record["tool"] = {{"version", kVersion}, {"git_commit", kGitCommit}, {"dirty", kGitDirty}};
  record["config"] = {{"name", cell.config->name},
                      {"sha256", Sha256Hex(cell.config->Resolved())},
                      {"resolved", resolved}};
  record["model"] = {{"name", group.model->name},
                     {"sha256", group.model->weights.checkpoint->Sha256()},
                     {"tokenizer_sha256", group.model->tokenizer.sha256()},
                     {"parameters", shape.Parameters()},
                     {"dtype", cell.config->weight_type == WeightType::kFp16 ? "fp16" : "native"}};
  record["method"] = cell.method;
  if (!cell.layers.empty()) {
    record["scheme"] = SchemeJson(cell.config->quantize.weights);
    record["path"] = "simulated";  // codes decoded to FP32 panel by panel, FP32 products
  }
  record["effective_bits"] = cell.bits.blocks;
  record["model_effective_bits"] = cell.bits.model;
  record["dataset"] = DatasetJson(*group.text);
  record["protocol"] = ProtocolJson(group);
  record["accuracy"] = AccuracyJson(group, cell);
  if (!cell.packed_sha256.empty()) record["hashes"]["packed_weights"] = cell.packed_sha256;
  const size_t first = group.measurement.first_window;
  record["hashes"]["first_window_logits"] =
      group.measurement.scores[cell.model][first]->logits_sha256;
  if (!cell.layers.empty()) record["layers"] = LayersJson(cell.layers);
  record["environment"] = EnvironmentJson(group.environment);
  record["seconds"] = {{"load", group.load_seconds}, {"evaluate", cell.evaluate_seconds}};
  if (!cell.layers.empty()) record["seconds"]["quantize"] = cell.quantize_seconds;
  if (group.measurement.resumed_windows > 0) {
    record["seconds"]["resumed_windows"] = group.measurement.resumed_windows;
  }
  record["peak_rss_bytes"] = PeakRssBytes();
  const std::string id = Sha256Hex(record.dump()).substr(0, 16);
  record["id"] = id;

  std::string time = record["created"].get<std::string>();
  std::erase_if(time, [](char c) { return c == '-' || c == ':'; });
  return {fmt::format("{}-{}-{}-{}.json", cell.config->name, cell.method, time, id.substr(0, 8)),
          record.dump(1) + "\n"};
}

fs::path WriteRecord(const Record& record, const fs::path& folder) {
  const fs::path path = folder / record.file_name;
  WriteFileAtomically(path, record.json, false);
  return path;
}

void PrepareRecordFolder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error)
    throw Error(NotWritable(folder) + ": " + error.message(), "--out",
                "choose another folder with --out");
  const fs::path probe = folder / fmt::format(".probe-{}.tmp", getpid());
  WriteFileAtomically(probe, "probe\n", true);
  fs::remove(probe, error);
}

}  // namespace quantref
