#include "eval/records/record_parts.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "eval/config/resolved_json.h"
#include "eval/cost/environment.h"
#include "eval/facts/budget.h"
#include "eval/record/schema.h"
#include "eval/record/scheme_text.h"
#include "eval/support/version.h"
#include "harness/base/machine.h"
#include "harness/base/sha256.h"
#include "harness/kernels/panel_layout.h"
#include "harness/quant/format.h"

namespace quantref {
namespace {

// Of a cell whose matrices differ: the config's scheme, with all bits that a budget chose
// ("int3/4/8 g128 asym"), and that it is mixed where they differ in something else.
std::string NameOfSeveral(const CellResult& cell) {
  WeightScheme asked = cell.spec->quantize.weights;
  std::set<int> bits;
  bool bits_alone = cell.budget != nullptr;
  for (const LayerReport& layer : cell.layers) {
    bits.insert(layer.scheme.bits);
    asked.bits = layer.scheme.bits;
    bits_alone = bits_alone && layer.scheme == asked;
  }
  if (cell.budget == nullptr) return SchemeName(cell.spec->quantize.weights) + " " + kMixed;
  asked.bits = *bits.begin();
  std::string name = SchemeName(asked);
  name.replace(asked.format->name.size(), 1, fmt::format("{}", fmt::join(bits, "/")));
  return bits_alone ? name : name + " " + kMixed;
}

// What the matrices were rounded to: what all have in common.
RecordJson WeightsJson(const CellResult& cell) {
  if (cell.layers.empty()) return SchemeJson(cell.spec->quantize.weights);
  RecordJson common = SchemeJson(cell.layers.front().scheme);
  for (const LayerReport& layer : cell.layers)
    common = CommonScheme(common, SchemeJson(layer.scheme));
  if (common.contains("name")) return common;
  RecordJson named = {{"name", NameOfSeveral(cell)}};
  named.update(common);
  return named;
}

RecordJson KvCacheJson(const KvCacheFacts& facts) {
  const KvScheme& scheme = facts.scheme;
  RecordJson json = {{"name", KvName(scheme)},
                     {"bits", scheme.bits},
                     {"keys", KvReachName(scheme.keys)},
                     {"values", KvReachName(scheme.values)}};
  const bool grouped = scheme.keys != KvReach::kHead || scheme.values != KvReach::kHead;
  if (grouped && scheme.group > 0) json["group"] = scheme.group;
  json["symmetric"] = scheme.symmetric;
  json["residual"] = scheme.residual;
  json["key_bits"] = facts.cost.key_bits;
  json["value_bits"] = facts.cost.value_bits;
  json["number_bits"] = (facts.cost.key_bits + facts.cost.value_bits) / 2;
  json["token_bytes"] = facts.cost.bytes;
  json["tokens"] = facts.tokens;
  json["bytes"] = facts.bytes;
  json["fp16_bytes"] = facts.fp16_bytes;
  return json;
}

RecordJson RotationJson(const RotationFacts& rotation) {
  RecordJson json = RecordJson::object();
  if (rotation.head_untied) json["head_untied"] = true;
  if (rotation.attention_order > 1) json["attention_order"] = rotation.attention_order;
  if (rotation.mlp_order > 1) json["mlp_order"] = rotation.mlp_order;
  json["flops"] = rotation.flops;
  json["flops_share"] = rotation.share;
  return json;
}

RecordJson LoraJson(const LoraFacts& facts) {
  RecordJson json = {{"rank", facts.spec.rank},
                     {"alpha", facts.spec.alpha},
                     {"merge", LoraMergeName(facts.spec.merge)},
                     {"matrices", facts.matrices},
                     {"parameters", facts.parameters}};
  if (facts.bits > 0) json["bits"] = facts.bits;
  return json;
}

// Whether codes of activations meet those of weights in integers; codebooks are multiplied in FP32.
bool MultipliesIntegers(const CellResult& cell) {
  if (!DynamicFormat(cell.spec->activations)->HasIntegerProducts()) return false;
  const auto is_codebook = [](const WeightScheme& scheme) {
    return FormOf(scheme) == CodeForm::kCodebook;
  };
  if (cell.kernel_linears == 0 || is_codebook(cell.spec->quantize.weights)) return false;
  return std::none_of(cell.layers.begin(), cell.layers.end(),
                      [&](const LayerReport& layer) { return is_codebook(layer.scheme); });
}

// The same for all records that this process writes, and for those of no other.
const std::string& RunId() {
  static const std::string id =
      Sha256Hex(fmt::format("{} {} {}", UtcNow(), getpid(),
                            std::chrono::steady_clock::now().time_since_epoch().count()))
          .substr(0, 16);
  return id;
}

}  // namespace

RecordJson BeginRecord(const RunConfig& config) {
  RecordJson record;
  record["schema"] = kRecordSchema;
  record["created"] = UtcNow();
  record["run"] = RunId();
  record["tool"] = {{"version", kVersion},
                    {"git_commit", kGitCommit},
                    {"dirty", kGitDirty},
                    {"program_sha256", ProgramSha256()}};
  record["config"] = {{"name", config.name},
                      {"sha256", Sha256Hex(config.Resolved())},
                      {"resolved", ResolvedJson(config)}};
  return record;
}

void PutPath(RecordJson& record, const CellResult& cell) {
  record["path"] = cell.kernel_linears > 0 ? "kernel" : "simulated";
  if (cell.decoded_from) record["decoded_from"] = *cell.decoded_from;
  if (!cell.simulated_linears.empty()) record["simulated_linears"] = cell.simulated_linears;
  if (!cell.gap) return;
  record["simulated_vs_kernel"] = {{"window", cell.gap->window},
                                   {"positions", cell.gap->positions},
                                   {"logit_max_abs", cell.gap->logit_max_abs},
                                   {"logit_mean_abs", cell.gap->logit_mean_abs},
                                   {"kl_mean", cell.gap->kl_mean},
                                   {"kl_max", cell.gap->kl_max},
                                   {"top1_agreement", cell.gap->top1_agreement},
                                   {"linear_error", cell.gap->linear_error},
                                   {"worst_linear", cell.gap->worst_linear},
                                   {"linear_error_limit", cell.limits.linear_error}};
  if (cell.limits.kl_mean) record["simulated_vs_kernel"]["kl_mean_limit"] = *cell.limits.kl_mean;
  if (cell.GapTooWide()) record["simulated_vs_kernel"]["failed"] = true;
}

void PutMethod(RecordJson& record, const CellResult& cell) {
  record["method"] = cell.method();
  if (cell.candidate != nullptr) {
    PutCandidate(record, cell);
  } else if (cell.spec != nullptr && cell.spec->training != Training::kFull) {
    // Adapters that were merged into FP16 leave no codes where all matrices had one.
    const bool none = cell.spec->quantize.none || (cell.lora && cell.layers.empty());
    if (!none) record["scheme"] = WeightsJson(cell);
    record["activations"] =
        cell.spec->activations ? ActivationName(*cell.spec->activations) : "none";
    if (cell.spec->activations && !none)
      record["activations_path"] = MultipliesIntegers(cell) ? "kernel" : "simulated";
    if (cell.rotation) record["rotation"] = RotationJson(*cell.rotation);
    if (!none) PutPath(record, cell);
  }
  if (cell.lora) record["lora"] = LoraJson(*cell.lora);
  if (cell.kv_cache) record["kv_cache"] = KvCacheJson(*cell.kv_cache);
  record["effective_bits"] = cell.bits.blocks;
  record["model_effective_bits"] = cell.bits.model;
}

void PutEnvironment(RecordJson& record, const Environment& environment) {
  record["environment"] = EnvironmentJson(environment);
}

void PutMemory(RecordJson& record) { record["peak_rss_bytes"] = PeakRssBytes(); }

}  // namespace quantref
