#include "eval/facts/stored_facts.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>
#include <variant>

namespace quantref {

std::vector<StoredType> StoredTypes(const MatrixSources& stored) {
  std::map<std::string, StoredType> by_name;
  for (const MatrixFacts& matrix : stored.found) {
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

std::vector<double> StoredLayerBits(const MatrixSources& stored) {
  constexpr std::string_view kBlock = "layers.";
  std::map<size_t, std::pair<double, double>> layers;  // bits, weights
  for (const MatrixFacts& matrix : stored.found) {
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

namespace {

double StoredBitsOf(const std::vector<StoredType>& types) {
  double bits = 0, weights = 0;
  for (const StoredType& type : types) {
    bits += type.bits;
    weights += type.weights;
  }
  return bits / weights;
}

// "Q4_K, Q6_K"; without codes what it is stored as.
std::string TypesText(const std::vector<StoredType>& types) {
  std::vector<std::string> names;
  for (const StoredType& type : types)
    if (type.coded || !types.front().coded) names.push_back(type.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

RecordJson BlockSchemeJson(const BlockScheme& scheme) {
  RecordJson json = {{"name", scheme.format},
                     {"bits", scheme.bits},
                     {"granularity", scheme.granularity},
                     {"symmetric", scheme.symmetric},
                     {"format", scheme.format}};
  if (scheme.group > 0) json["group"] = scheme.group;
  return json;
}

RecordJson MatrixScheme(const MatrixFacts& matrix) {
  if (const auto* scheme = std::get_if<WeightScheme>(&matrix.codes)) return SchemeJson(*scheme);
  if (const auto* scheme = std::get_if<BlockScheme>(&matrix.codes)) return BlockSchemeJson(*scheme);
  return {
      {"name", matrix.type}, {"bits", static_cast<size_t>(matrix.Bits())}, {"granularity", "none"}};
}

}  // namespace

RecordJson StoredSchemeJson(const MatrixSources& stored) {
  const std::vector<MatrixFacts>& found = stored.found;
  const bool coded = std::ranges::any_of(found, &MatrixFacts::coded);
  const auto counts_in_block = [coded](const MatrixFacts& m) {
    return m.coded == coded && m.IsOfBlock();
  };
  const bool of_blocks = std::ranges::any_of(found, counts_in_block);
  RecordJson scheme;
  for (const MatrixFacts& matrix : found) {
    if (of_blocks ? !counts_in_block(matrix) : matrix.coded != coded) continue;
    const RecordJson own = MatrixScheme(matrix);
    scheme = scheme.is_null() ? own : CommonScheme(scheme, own);
  }
  scheme["name"] = TypesText(StoredTypes(stored));
  return scheme;
}

std::string StoredSummary(const MatrixSources& stored) {
  const std::vector<StoredType> types = StoredTypes(stored);
  std::string names;
  for (const StoredType& type : types) names += (names.empty() ? "" : ", ") + type.name;
  return fmt::format("{}; {:.2f} bits a weight", names, StoredBitsOf(types));
}

RecordJson StoredTypesJson(const std::vector<StoredType>& types) {
  RecordJson json = RecordJson::array();
  for (const StoredType& type : types) {
    json.push_back({{"name", type.name},
                    {"matrices", type.matrices},
                    {"weights", static_cast<uint64_t>(type.weights)},
                    {"bits", type.bits / type.weights}});
  }
  return json;
}

RecordJson StoredNotesJson(const MatrixSources& stored) {
  RecordJson json = RecordJson::array();
  for (const CountedNote& note : stored.notes) {
    json.push_back({{"what", note.what}, {"count", note.count}});
    if (!note.of.empty()) json.back()["of"] = note.of;
    if (note.grade == NoteGrade::kDoubt) json.back()["doubtful"] = true;
  }
  return json;
}

RecordJson ForeignModelJson(const MatrixSources& stored) {
  const std::vector<StoredType> types = StoredTypes(stored);
  return {{"format", stored.foreign->format()}, {"stored", StoredSummary(stored)},
          {"bits", StoredBitsOf(types)},        {"layer_bits", StoredLayerBits(stored)},
          {"types", StoredTypesJson(types)},    {"notes", StoredNotesJson(stored)}};
}

}  // namespace quantref
