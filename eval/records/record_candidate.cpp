#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>
#include <set>

#include "eval/candidate/candidate.h"
#include "eval/facts/stored_facts.h"
#include "eval/records/record_parts.h"
#include "harness/kernels/panel_layout.h"
#include "harness/kernels/tiled_matrix.h"

// What a record says of a candidate, and of how its matrices are stored.

namespace quantref {
namespace {

std::string FormatText(const Candidate& candidate) {
  const GgufFile* gguf = candidate.model.weights.checkpoint->gguf();
  if (gguf != nullptr)
    return fmt::format("gguf {}", gguf->Text("general.architecture").value_or(""));
  return candidate.stored.foreign != nullptr ? candidate.stored.foreign->format() : "safetensors";
}

RecordJson MatricesJson(const Candidate& candidate) {
  RecordJson json = RecordJson::array();
  for (size_t i = 0; i < candidate.stored.found.size(); ++i) {
    const MatrixFacts& matrix = candidate.stored.found[i];
    json.push_back({{"name", matrix.name}, {"type", matrix.type}, {"bits", matrix.Bits()}});
    if (candidate.weight_errors[i]) json.back()["weight_mse"] = *candidate.weight_errors[i];
  }
  return json;
}

RecordJson CandidateJson(const Candidate& candidate, const std::vector<StoredType>& types) {
  const Model& model = candidate.model;
  RecordJson json = {{"name", model.name},
                     {"format", FormatText(candidate)},
                     {"sha256", model.weights.checkpoint->Sha256()},
                     {"config_sha256", model.config.sha256},
                     {"tokenizer_sha256", model.tokenizer.sha256()},
                     {"disk_bytes", model.weights.checkpoint->FileBytes()},
                     {"plain_matrices", candidate.Plain().size()},
                     {"changed_norms", candidate.changed_norms},
                     {"layer_bits", StoredLayerBits(candidate.stored)}};
  if (candidate.IsDecoded()) json["decoded"] = true;
  json["types"] = StoredTypesJson(types);
  json["matrices"] = MatricesJson(candidate);
  json["notes"] = StoredNotesJson(candidate.stored);
  return json;
}

ActivationScheme SchemeOf(const ActivationFormat& format) {
  return {format.bits,     format.per_token, !format.static_scale,
          format.outliers, format.group,     format.format};
}

// How inputs are rounded, and whether codes meet codes in integers wherever they are.
void PutActivations(const ModelWeights& weights, RecordJson& record) {
  std::set<std::string> names;
  bool integers = true;
  for (const Linear* linear : AllLinears(weights)) {
    if (!linear->activations) continue;
    names.insert(ActivationName(SchemeOf(*linear->activations)));
    const TiledMatrix* tiled = linear->weight.tiled();
    integers = integers && tiled != nullptr && linear->activations->HasIntegerProducts() &&
               FormOf(tiled->scheme()) != CodeForm::kCodebook;
  }
  record["activations"] = names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", "));
  if (!names.empty()) record["activations_path"] = integers ? "kernel" : "simulated";
}

}  // namespace

void PutCandidate(RecordJson& record, const CellResult& cell) {
  const Candidate& candidate = *cell.candidate;
  const std::vector<StoredType> types = StoredTypes(candidate.stored);
  record["scheme"] = StoredSchemeJson(candidate.stored);
  PutActivations(candidate.model.weights, record);
  if (types.front().coded) PutPath(record, cell);
  record["candidate"] = CandidateJson(candidate, types);
}

}  // namespace quantref
