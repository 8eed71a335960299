#include "eval/records/record.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "eval/facts/budget.h"
#include "eval/facts/stored_facts.h"
#include "eval/records/record_parts.h"
#include "harness/model/gguf_facts.h"

namespace quantref {
namespace {

RecordJson DatasetJson(const Text& text) {
  RecordJson json = {{"name", text.dataset}};
  if (!text.split.empty()) json["split"] = text.split;
  json["sha256"] = text.sha256;
  if (text.substituted_sample) json["substituted_sample"] = true;
  return json;
}

void PutUnknown(RecordJson& json, const UnknownShare& unknown) {
  json["unknown_share"] = unknown.tokens;
  json["unknown_bytes_share"] = unknown.bytes;
  if (unknown.TooMuch()) json["too_much_unknown"] = true;
}

RecordJson ProtocolJson(const GroupResult& group) {
  const MeasuredWindows measured = Measured(group.measurement.scores[0], group.windows);
  size_t scored = 0;
  RecordJson scored_each = RecordJson::array();
  for (const Window& window : measured.windows) {
    scored += window.scored();
    scored_each.push_back(window.scored());
  }
  RecordJson json = {{"name", group.protocol->name},         {"window", group.protocol->window},
                     {"bos", group.stream->bos.has_value()}, {"tokens", group.stream->ids.size()},
                     {"windows", measured.windows.size()},   {"scored", scored},
                     {"token_sha256", group.stream->sha256}, {"window_scored", scored_each}};
  PutUnknown(json, MeasureUnknown(*group.stream, measured.windows));
  if (group.measurement.interrupted) {
    json["interrupted"] = true;
    const std::string& journal = group.measurement.journal_name;
    if (!journal.empty()) json["journal"] = journal;
  }
  if (measured.windows.size() == group.all_windows) return json;
  json["cut_from_windows"] = group.all_windows;
  json["stopped_early"] = group.measurement.stopped_early;
  json["window_index"] = MeasuredIndices(group);
  return json;
}

RecordJson PairJson(double low, double high) { return RecordJson::array({low, high}); }

// JSON has no infinity: an exponential that no double holds is absent, its logarithm says it.
void PutFinite(RecordJson& json, const char* key, double value) {
  if (std::isfinite(value)) json[key] = value;
}

void PutExponentials(RecordJson& json, const char* key, const Interval& of) {
  const double low = std::exp(of.low), high = std::exp(of.high);
  if (std::isfinite(high)) json[key] = PairJson(low, high);
}

void PutPerplexity(RecordJson& json, const Perplexity& perplexity) {
  PutFinite(json, "ppl", perplexity.ppl);
  if (const auto& interval = perplexity.nll.interval) {
    PutExponentials(json, "ppl_ci95", *interval);
    json["mean_nll_se"] = interval->standard_error;
  }
  json["mean_nll"] = perplexity.nll.mean;
  json["mean_nll_independent_se"] = perplexity.nll.independent_error;
  if (perplexity.word_ppl) json["word_ppl"] = *perplexity.word_ppl;
  if (perplexity.bits_per_byte) json["bits_per_byte"] = *perplexity.bits_per_byte;
}

void PutDelta(RecordJson& json, const Comparison& comparison) {
  const Estimate& delta = comparison.delta_nll;
  json["delta_nll"] = delta.mean;
  json["delta_nll_independent_se"] = delta.independent_error;
  PutFinite(json, "ppl_ratio", std::exp(delta.mean));
  if (!delta.interval) return;
  json["delta_nll_ci95"] = PairJson(delta.interval->low, delta.interval->high);
  json["delta_nll_se"] = delta.interval->standard_error;
  PutExponentials(json, "ppl_ratio_ci95", *delta.interval);
  json["minimum_detectable_delta_nll"] = comparison.minimum_detectable;
}

void PutDivergence(RecordJson& json, const Comparison& comparison) {
  json["kl_mean"] = comparison.kl.mean;
  json["kl_independent_se"] = comparison.kl.independent_error;
  if (const auto& interval = comparison.kl.interval)
    json["kl_ci95"] = PairJson(interval->low, interval->high);
  json["kl_p50"] = comparison.kl_p50;
  json["kl_p90"] = comparison.kl_p90;
  json["kl_p99"] = comparison.kl_p99;
  json["kl_p999"] = comparison.kl_p999;
  json["kl_max"] = comparison.kl_max;
}

void PutTop1(RecordJson& json, const Comparison& comparison) {
  json["top1_agreement"] = comparison.top1.mean;
  if (const auto& interval = comparison.top1.interval)
    json["top1_ci95"] = PairJson(interval->low, interval->high);
  json["top1_independent_se"] = comparison.top1.independent_error;
}

RecordJson WindowValues(const MeasuredWindows& measured, double WindowScores::*field) {
  RecordJson values = RecordJson::array();
  for (const WindowScores* scores : measured.scores) values.push_back(scores->*field);
  return values;
}

RecordJson AccuracyJson(const GroupResult& group, const CellResult& cell) {
  const ScoreTable& scores = group.measurement.scores;
  const MeasuredWindows measured = Measured(scores[cell.model], group.windows);
  RecordJson json;
  PutPerplexity(json, cell.perplexity);
  if (!cell.comparison) {
    PutKeptLogits(json, measured);
    json["window_nll"] = WindowValues(measured, &WindowScores::nll);
    return json;
  }
  const Metrics& metrics = cell.config->accuracy.metrics;
  json["reference"] = cell.reference_name;
  PutFinite(json, "reference_ppl", cell.reference.ppl);
  json["reference_mean_nll"] = cell.reference.nll.mean;
  PutDelta(json, *cell.comparison);
  if (metrics.kl) PutDivergence(json, *cell.comparison);
  if (metrics.top1) PutTop1(json, *cell.comparison);
  for (const PlainFigure& figure : PlainFigures()) {
    if (metrics.*figure.measured) json[figure.field] = figure.of(measured);
  }
  PutKeptLogits(json, measured);
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
  if (metrics.kl) json["window_kl"] = WindowValues(measured, &WindowScores::kl);
  if (metrics.top1) json["window_same_top"] = WindowValues(measured, &WindowScores::same_top);
  return json;
}

// Over all quantized matrices, each counting once.
RecordJson OutliersJson(const std::map<std::string, OutlierShare>& outliers) {
  OutlierShare all;
  for (const auto& [name, share] : outliers) {
    all.mean += share.mean / static_cast<double>(outliers.size());
    all.most = std::max(all.most, share.most);
  }
  return {{"share", all.mean}, {"share_max", all.most}};
}

RecordJson LayersJson(const CellResult& cell) {
  RecordJson json = RecordJson::array();
  for (const LayerReport& layer : cell.layers) {
    RecordJson entry = {{"name", layer.name},
                        {"method", layer.method},
                        {"scheme", SchemeName(layer.scheme)},
                        {"bits", layer.effective_bits},
                        {"packed_sha256", layer.packed_sha256},
                        {"weight_mse", layer.weight_mse}};
    if (!layer.asked.empty()) entry["asked"] = layer.asked;
    if (layer.output_mse) entry["output_mse"] = *layer.output_mse;
    if (layer.output_error) entry["output_error"] = *layer.output_error;
    entry["scale_range"] = RecordJson::array({layer.scale_min, layer.scale_max});
    entry["clipped_share"] = layer.clipped_share;
    if (const auto share = cell.outliers.find(layer.name); share != cell.outliers.end()) {
      entry["outlier_share"] = share->second.mean;
      entry["outlier_share_max"] = share->second.most;
    }
    if (!layer.note.empty()) entry["note"] = layer.note;
    entry["seconds"] = layer.seconds;
    json.push_back(std::move(entry));
  }
  return json;
}

RecordJson FinetuneJson(const GroupResult& group, const CellResult& cell) {
  const CalibrationSet& set = *cell.training;
  const TrainSpec spec = cell.spec->TrainedBy(cell.config->finetune);
  RecordJson json = SourceJson(set);
  json["steps"] = spec.steps;
  json["batch"] = spec.batch;
  json["length"] = set.length;
  if (set.length < set.asked_length) json["cut_from_length"] = set.asked_length;
  json["loss"] = spec.loss == TrainingLoss::kKl ? "kl" : "ce";
  if (spec.scales == TrainedScales::kLearned) json["scales"] = "learned";
  json["seed"] = set.seed;
  json["text_tokens"] = set.text_tokens;
  json["distinct_tokens"] = set.DistinctTokens(set.data.samples.size());
  json["token_sha256"] = set.TokenSha256(set.data.samples.size());
  PutOverlap(group, set, json);
  json["losses"] = cell.losses;
  return json;
}

RecordJson CalibrationJson(const GroupResult& group, const CellResult& cell) {
  const CalibrationSet& set = *cell.calibration;
  RecordJson json = SourceJson(set);
  json["samples"] = cell.read.samples;
  json["length"] = cell.read.length;
  if (set.data.samples.size() < set.asked_samples) json["cut_from_samples"] = set.asked_samples;
  if (set.length < set.asked_length) json["cut_from_length"] = set.asked_length;
  json["text_tokens"] = set.text_tokens;
  json["distinct_tokens"] = set.DistinctTokens(cell.read.samples, cell.read.length);
  json["seed"] = set.seed;
  json["sequential"] = set.data.sequential;
  json["token_sha256"] = set.TokenSha256(cell.read.samples, cell.read.length);
  PutOverlap(group, set, json);
  json["used_by"] = cell.calibrates ? "method" : "layer report";
  json["report_tokens"] = std::min(cell.read.samples, kKeptSamples) *
                          KeptRows(cell.read.samples, cell.read.length, kReportTokens);
  const std::optional<SeedSpread> spread = SpreadOver(cell);
  if (!spread) return json;
  json["seeds"] = {{"seeds", spread->seeds}};
  if (std::isfinite(spread->mean)) {
    json["seeds"]["ppl"] = spread->ppl;
    json["seeds"]["ppl_mean"] = spread->mean;
    json["seeds"]["ppl_sd"] = spread->deviation;
  }
  return json;
}

RecordJson GgufJson(const Checkpoint& checkpoint) {
  const GgufFacts facts = DescribeGguf(checkpoint);
  RecordJson json = {{"architecture", facts.architecture},
                     {"stored", facts.Summary()},
                     {"bits", facts.bits},
                     {"layer_bits", facts.layer_bits}};
  for (const GgufFacts::Type& type : facts.types) {
    json["types"].push_back(
        {{"name", type.name}, {"matrices", type.matrices}, {"weights", type.weights}});
  }
  return json;
}

RecordJson ModelJson(const GroupResult& group, WeightType type) {
  RecordJson json = {{"name", group.model->name},
                     {"sha256", group.model->weights.checkpoint->Sha256()},
                     {"config_sha256", group.model->config.sha256},
                     {"tokenizer_sha256", group.model->tokenizer.sha256()},
                     {"tokenizer_pieces", group.model->tokenizer.vocab_size()},
                     {"tokenizer_kind", group.model->tokenizer.facts().kind},
                     {"vocabulary", group.model->config.vocab},
                     {"parameters", group.model->config.Parameters()},
                     {"dtype", type == WeightType::kFp16 ? "fp16" : "native"}};
  const Checkpoint& checkpoint = *group.model->weights.checkpoint;
  if (checkpoint.gguf() != nullptr) {
    json["gguf"] = GgufJson(checkpoint);
    if (DescribeGguf(checkpoint).quantized) json["decoded"] = true;
  }
  if (const std::string text = PassedByText(*group.model); !text.empty()) json["passed_by"] = text;
  if (group.model->stored.HoldsCodes()) {
    json["foreign"] = ForeignModelJson(group.model->stored);
    json["decoded"] = true;
  }
  if (group.outliers) {
    json["outliers"] = {{"channels", group.outliers->channels},
                        {"scale", group.outliers->scale},
                        {"seed", group.outliers->seed}};
  }
  return json;
}

}  // namespace

RecordJson SourceJson(const CalibrationSet& set) {
  RecordJson json = {{"dataset", set.dataset}};
  if (!set.split.empty()) json["split"] = set.split;
  json["sha256"] = set.text_sha256;
  if (set.substituted_sample) json["substituted_sample"] = true;
  return json;
}

void PutOverlap(const GroupResult& group, const CalibrationSet& set, RecordJson& json) {
  PutUnknown(json, set.unknown);
  const std::vector<size_t> windows = MeasuredIndices(group);
  json["overlap_with_test"] = OverlapShare(set, windows);
  if (set.is_test_text) json["is_test_text"] = true;
  if (IsContaminated(set, windows)) json["contaminated"] = true;
}

Record MakeRecord(const GroupResult& group, const CellResult& cell) {
  RecordJson record = BeginRecord(*cell.config);
  record["model"] = ModelJson(group, cell.config->model.weight_type);
  PutMethod(record, cell);
  PutBudget(record, group, cell);
  record["dataset"] = DatasetJson(*group.text);
  record["protocol"] = ProtocolJson(group);
  if (cell.calibration != nullptr) record["calibration"] = CalibrationJson(group, cell);
  if (cell.training != nullptr) record["finetune"] = FinetuneJson(group, cell);
  record["accuracy"] = AccuracyJson(group, cell);
  if (cell.ledger != nullptr) PutLedger(record, group, cell);
  const auto& first = group.measurement.scores[cell.model][group.measurement.first_window];
  record["hashes"] = RecordJson::object();
  if (!cell.packed_sha256.empty()) record["hashes"]["packed_weights"] = cell.packed_sha256;
  if (first) record["hashes"]["first_window_logits"] = first->logits_sha256;
  if (!cell.outliers.empty()) record["outlier_channels"] = OutliersJson(cell.outliers);
  if (!cell.layers.empty()) record["layers"] = LayersJson(cell);
  if (cell.speed) PutSpeed(record, *cell.speed, group.environment);
  PutEnvironment(record, group.environment);
  record["seconds"] = {{"load", group.load_seconds}, {"evaluate", cell.evaluate_seconds}};
  if (cell.budget_text != nullptr) record["seconds"]["sensitivities"] = cell.budget->seconds;
  if (cell.speed) record["seconds"]["throughput"] = group.throughput_seconds;
  if (!cell.layers.empty()) {
    record["seconds"]["quantize"] = cell.stages.Total();
    if (cell.stages.shared > 0) record["seconds"]["quantize_shared"] = cell.stages.shared;
    if (cell.quantize_threads > 0) record["seconds"]["quantize_threads"] = cell.quantize_threads;
    record["seconds"]["quantize_stages"] = {{"forward", cell.stages.forward},
                                            {"statistics", cell.stages.statistics},
                                            {"transform", cell.stages.transform},
                                            {"round", cell.stages.round},
                                            {"report", cell.stages.report}};
    if (cell.stages.train > 0) record["seconds"]["quantize_stages"]["train"] = cell.stages.train;
  }
  if (group.measurement.resumed_windows > 0) {
    record["seconds"]["resumed_windows"] = group.measurement.resumed_windows;
  }
  PutMemory(record);
  return FinishRecord(std::move(record));
}

Results ResultsOf(std::span<const Record> records) {
  Results results;
  for (const Record& record : records)
    results.push_back(ParseResult(record.json, record.file_name));
  return results;
}

}  // namespace quantref
