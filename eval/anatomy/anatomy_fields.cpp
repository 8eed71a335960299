#include "eval/anatomy/anatomy_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "eval/support/markup.h"
#include "eval/support/version.h"

namespace quantref {
namespace {

using Maybe = std::optional<double>;
using AnatomyJsonValue = nlohmann::ordered_json;

constexpr int kAnatomySchema = 1;

template <typename F>
Maybe OfShape(const MatrixAnatomy& matrix, const F& value) {
  return matrix.shape ? Maybe(static_cast<double>(value(*matrix.shape))) : std::nullopt;
}

template <typename F>
Maybe OfLines(const std::optional<LineSpread>& lines, const F& value) {
  return lines ? Maybe(static_cast<double>(value(*lines))) : std::nullopt;
}

template <size_t kDeviations>
Maybe WithinOf(const MatrixAnatomy& matrix) {
  return OfShape(matrix, [](const auto& shape) { return shape.within[kDeviations - 1]; });
}

template <int kSign>
Maybe DistanceEnd(const MatrixAnatomy& matrix) {
  return OfShape(matrix, [](const auto& shape) {
    return std::clamp(shape.normal_distance + kSign * DistanceHalfWidth(shape.count), 0.0, 1.0);
  });
}

constexpr int kInFiles = 0;
constexpr AnatomyField kAnatomyFields[] = {
    {"rows", "", "outputs", 1, 0, kInFiles, false,
     [](const MatrixAnatomy& m) { return Maybe(static_cast<double>(m.rows)); }},
    {"cols", "", "inputs", 1, 0, kInFiles, false,
     [](const MatrixAnatomy& m) { return Maybe(static_cast<double>(m.cols)); }},
    {"distinct", "", "different numbers among the weights", 1, 0, kInFiles, false,
     [](const MatrixAnatomy& m) { return OfShape(m, [](auto& s) { return s.distinct; }); }},
    {"mean", "", "of the weights", 1, 6, kInFiles, false,
     [](const MatrixAnatomy& m) { return OfShape(m, [](auto& s) { return s.mean; }); }},
    {"deviation", "σ", "standard deviation of the weights", 1, 4, 15, false,
     [](const MatrixAnatomy& m) { return OfShape(m, [](auto& s) { return s.deviation; }); }},
    {"least", "", "least weight", 1, 4, kInFiles, false,
     [](const MatrixAnatomy& m) { return OfShape(m, [](auto& s) { return s.least; }); }},
    {"largest", "", "largest weight", 1, 4, kInFiles, false,
     [](const MatrixAnatomy& m) { return OfShape(m, [](auto& s) { return s.largest; }); }},
    {"within_1", "1σ (%)", "share within 1σ of the mean", 100, 2, 60, true, WithinOf<1>},
    {"within_2", "2σ (%)", "share within 2σ of the mean", 100, 2, 40, true, WithinOf<2>},
    {"within_3", "3σ (%)", "share within 3σ of the mean", 100, 2, 50, true, WithinOf<3>},
    {"kurtosis", "kurtosis", "kurtosis beyond a normal one's", 1, 2, 80, true,
     [](const MatrixAnatomy& m) { return OfShape(m, [](auto& s) { return s.kurtosis; }); }},
    {"normal_distance", "KS", "distance from normal (KS)", 1, 4, 75, true,
     [](const MatrixAnatomy& m) { return OfShape(m, [](auto& s) { return s.normal_distance; }); }},
    {"normal_distance_low", "KS low", "least distance in the band", 1, 4, 31, false,
     DistanceEnd<-1>},
    {"normal_distance_high", "KS high", "largest distance in the band", 1, 4, 32, false,
     DistanceEnd<1>},
    {"normal_bound", "if normal", "what normal weights stay below", 1, 4, 35, false,
     [](const MatrixAnatomy& m) {
       return OfShape(m, [](auto& s) { return NormalDistanceBound(s.count); });
     }},
    {"bulk", "bulk (%)", "share of the range that 99 % use", 100, 1, 70, true,
     [](const MatrixAnatomy& m) { return OfShape(m, [](auto& s) { return s.bulk; }); }},
    {"peak", "peak (σ)", "farthest weight, in σ", 1, 1, 65, true,
     [](const MatrixAnatomy& m) { return OfShape(m, [](auto& s) { return s.Peak(); }); }},
    {"row_peak", "row", "largest row over the median one", 1, 2, 56, true,
     [](const MatrixAnatomy& m) { return OfLines(m.outputs, [](auto& l) { return l.peak; }); }},
    {"outlier_rows", "rows", "outlier rows", 1, 0, 46, false,
     [](const MatrixAnatomy& m) { return OfLines(m.outputs, [](auto& l) { return l.outliers; }); }},
    {"column_peak", "col", "largest column over the median one", 1, 2, 55, true,
     [](const MatrixAnatomy& m) { return OfLines(m.inputs, [](auto& l) { return l.peak; }); }},
    {"outlier_columns", "cols", "outlier columns", 1, 0, 45, false,
     [](const MatrixAnatomy& m) { return OfLines(m.inputs, [](auto& l) { return l.outliers; }); }},
};

// "layers.3."; "" of what stands in none.
std::string_view LayerName(const MatrixAnatomy& matrix) {
  const std::string_view name = matrix.name;
  return name.substr(0, name.size() - matrix.Kind().size());
}

// Over the matrices that have both.
Foretelling ForetellBy(std::span<const MatrixAnatomy> matrices, size_t cell, const auto& value_of) {
  std::map<std::string_view, std::vector<size_t>> kinds;  // places among what is there
  std::map<std::string_view, size_t> layers;              // the first place of each
  std::vector<double> values, errors;
  std::vector<size_t> layer_of;
  for (const MatrixAnatomy& matrix : matrices) {
    const std::optional<RoundingLoss>& loss = matrix.rounded[cell];
    const Maybe value = value_of(matrix);
    if (!loss || !value) continue;
    kinds[matrix.Kind()].push_back(values.size());
    layer_of.push_back(layers.try_emplace(LayerName(matrix), values.size()).first->second);
    values.push_back(*value);
    errors.push_back(loss->error);
  }
  std::vector<double> own_values, own_errors;
  std::vector<size_t> groups, own_layers;
  for (const auto& [kind, places] : kinds) {
    if (places.size() < 2) continue;
    for (const size_t place : places) {
      own_values.push_back(values[place]);
      own_errors.push_back(errors[place]);
      groups.push_back(places.front());
      own_layers.push_back(layer_of[place]);
    }
  }
  Foretelling result{.name = {}, .about = {}, .matrices = values.size(), .of_kinds = groups.size()};
  result.all = CorrelateRanks(values, errors);
  result.within_kinds = CorrelateWithin(own_values, own_errors, groups, own_layers);
  return result;
}

void PutCorrelation(const std::optional<RankCorrelation>& correlation, size_t matrices,
                    AnatomyJsonValue& json) {
  json["matrices"] = matrices;
  if (!correlation) return;
  json["rho"] = correlation->rho;
  if (const auto& interval = correlation->interval) json["ci95"] = {interval->low, interval->high};
}

AnatomyJsonValue CellsJson(const Anatomy& anatomy) {
  AnatomyJsonValue json = AnatomyJsonValue::array();
  for (size_t c = 0; c < anatomy.cells.size(); ++c) {
    const RoundedCell& cell = anatomy.cells[c];
    AnatomyJsonValue foretold = AnatomyJsonValue::array();
    for (const Foretelling& each : anatomy.foretold[c]) {
      AnatomyJsonValue entry = {{"by", each.name}};
      PutCorrelation(each.all, each.matrices, entry);
      PutCorrelation(each.within_kinds, each.of_kinds, entry["within_kinds"]);
      foretold.push_back(std::move(entry));
    }
    json.push_back({{"name", cell.name}, {"schemes", cell.Schemes()}});
    if (!cell.alike.empty()) json.back()["alike"] = cell.alike;
    json.back()["error_foretold"] = std::move(foretold);
  }
  return json;
}

AnatomyJsonValue MatrixJson(const Anatomy& anatomy, const MatrixAnatomy& matrix) {
  AnatomyJsonValue json = {{"name", matrix.name}};
  for (const AnatomyField& field : AnatomyFields())
    if (const Maybe value = field.value(matrix)) json[field.name] = *value;
  AnatomyJsonValue rounded = AnatomyJsonValue::object();
  for (size_t c = 0; c < anatomy.cells.size(); ++c) {
    if (const auto& loss = matrix.rounded[c])
      rounded[anatomy.cells[c].name] = {{"error", loss->error}, {kReachName, loss->reach}};
  }
  if (!rounded.empty()) json["rounded"] = std::move(rounded);
  return json;
}

}  // namespace

std::span<const AnatomyField> AnatomyFields() { return kAnatomyFields; }

std::vector<Foretelling> Foretell(std::span<const MatrixAnatomy> matrices, size_t cell) {
  std::vector<Foretelling> all;
  const auto add = [&](const std::string& name, const std::string& about, const auto& value_of) {
    all.push_back(ForetellBy(matrices, cell, value_of));
    all.back().name = name;
    all.back().about = about;
  };
  for (const AnatomyField& field : AnatomyFields())
    if (field.foretells) add(field.name, field.about, field.value);
  add(kReachName, "reach of a scale's weights", [cell](const MatrixAnatomy& matrix) {
    return matrix.rounded[cell] ? Maybe(matrix.rounded[cell]->reach) : std::nullopt;
  });
  return all;
}

std::string AnatomyJson(const Anatomy& anatomy) {
  AnatomyJsonValue json = {
      {"kind", "anatomy of weights"},
      {"schema", kAnatomySchema},
      {"tool", {{"version", kVersion}, {"git_commit", kGitCommit}, {"dirty", kGitDirty}}},
      {"model",
       {{"name", anatomy.model},
        {"sha256", anatomy.weights_sha256},
        {"parameters", anatomy.parameters}}}};
  for (const auto& [name, words] :
       {std::pair("outliers", anatomy.outliers), std::pair("decoded", anatomy.decoded)})
    if (!words.empty()) json["model"][name] = words;
  json["fields"] = AnatomyJsonValue::object();
  for (const AnatomyField& field : AnatomyFields()) json["fields"][field.name] = field.about;
  json["cells"] = CellsJson(anatomy);
  json["matrices"] = AnatomyJsonValue::array();
  for (const MatrixAnatomy& matrix : anatomy.matrices)
    json["matrices"].push_back(MatrixJson(anatomy, matrix));
  return json.dump(1) + "\n";
}

std::string AnatomyCsv(const Anatomy& anatomy) {
  std::string text = "name";
  for (const AnatomyField& field : AnatomyFields()) text += fmt::format(",{}", field.name);
  for (const RoundedCell& cell : anatomy.cells) {
    text += "," + CsvText(cell.name + " error");
    text += "," + CsvText(cell.name + " " + kReachName);
  }
  text += "\n";
  const auto number = [](const Maybe& value) { return value ? fmt::format(",{}", *value) : ","; };
  for (const MatrixAnatomy& matrix : anatomy.matrices) {
    text += CsvText(matrix.name);
    for (const AnatomyField& field : AnatomyFields()) text += number(field.value(matrix));
    for (const auto& loss : matrix.rounded) {
      text += number(loss ? Maybe(loss->error) : std::nullopt);
      text += number(loss ? Maybe(loss->reach) : std::nullopt);
    }
    text += "\n";
  }
  return text;
}

}  // namespace quantref
