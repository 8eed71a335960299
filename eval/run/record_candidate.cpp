#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "eval/run/candidate.h"
#include "eval/run/record_parts.h"
#include "harness/kernels/panel_layout.h"
#include "harness/kernels/tiled_matrix.h"

// What a record says of a candidate, and of how its matrices are stored.

namespace quantref {
namespace {

struct StoredType {
  std::string name;
  bool coded = false;
  size_t matrices = 0;
  double weights = 0, bits = 0;
};

// That with the most weights first; codes before what is plain.
std::vector<StoredType> TypesOf(const Candidate& candidate) {
  std::map<std::string, StoredType> by_name;
  for (const MatrixFacts& matrix : candidate.stored.found) {
    StoredType& type = by_name[matrix.type];
    type.name = matrix.type;
    type.coded = matrix.coded;
    ++type.matrices;
    type.weights += matrix.Weights();
    type.bits += 8 * static_cast<double>(matrix.bytes);
  }
  std::vector<StoredType> types;
  for (auto& [name, type] : by_name) types.push_back(std::move(type));
  std::stable_sort(types.begin(), types.end(), [](const StoredType& a, const StoredType& b) {
    return std::pair(a.coded, a.weights) > std::pair(b.coded, b.weights);
  });
  return types;
}

// "Q4_K, Q6_K"; of a candidate without codes what it is stored as.
std::string NameOf(const std::vector<StoredType>& types) {
  std::vector<std::string> names;
  for (const StoredType& type : types)
    if (type.coded || !types.front().coded) names.push_back(type.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

std::string FormatText(const Candidate& candidate) {
  const GgufFile* gguf = candidate.model.weights.checkpoint->gguf();
  if (gguf != nullptr)
    return fmt::format("gguf {}", gguf->Text("general.architecture").value_or(""));
  return candidate.stored.foreign != nullptr ? candidate.stored.foreign->format() : "safetensors";
}

// Of each block's matrices.
std::vector<double> LayerBits(const Candidate& candidate) {
  constexpr std::string_view kBlock = "layers.";
  std::map<size_t, std::pair<double, double>> layers;  // bits, weights
  for (const MatrixFacts& matrix : candidate.stored.found) {
    if (!matrix.name.starts_with(kBlock)) continue;
    size_t layer = 0;
    const char* const end = matrix.name.data() + matrix.name.size();
    std::from_chars(matrix.name.data() + kBlock.size(), end, layer);
    layers[layer].first += 8 * static_cast<double>(matrix.bytes);
    layers[layer].second += matrix.Weights();
  }
  std::vector<double> bits;
  for (const auto& [layer, sums] : layers) bits.push_back(sums.first / sums.second);
  return bits;
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

RecordJson NotesJson(const Candidate& candidate) {
  RecordJson json = RecordJson::array();
  for (const CountedNote& note : candidate.stored.notes) {
    json.push_back({{"what", note.what}, {"count", note.count}});
    if (!note.of.empty()) json.back()["of"] = note.of;
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
                     {"layer_bits", LayerBits(candidate)}};
  if (candidate.IsDecoded()) json["decoded"] = true;
  for (const StoredType& type : types) {
    json["types"].push_back({{"name", type.name},
                             {"matrices", type.matrices},
                             {"weights", static_cast<uint64_t>(type.weights)},
                             {"bits", type.bits / type.weights}});
  }
  json["matrices"] = MatricesJson(candidate);
  json["notes"] = NotesJson(candidate);
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
  const std::vector<StoredType> types = TypesOf(candidate);
  record["scheme"] = {{"name", NameOf(types)}};
  PutActivations(candidate.model.weights, record);
  if (types.front().coded) PutPath(record, cell);
  record["candidate"] = CandidateJson(candidate, types);
}

}  // namespace quantref
