#include "eval/anatomy/anatomy.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "eval/anatomy/anatomy_fields.h"
#include "eval/anatomy/anatomy_text.h"
#include "eval/support/text_table.h"
#include "harness/model/plan_model.h"
#include "harness/quant/format.h"
#include "harness/quant/grid.h"
#include "harness/testing/random.h"
#include "harness/testing/testing.h"
#include "harness/testing/tiny_model.h"

namespace quantref {
namespace {

using testing::Contains;
using testing::NormalMatrix;

struct TinyWeights {
  ModelConfig config;
  ModelWeights weights;
};

// The weights stay mapped when the folder is gone.
TinyWeights WeightsToLookAt(size_t layers) {
  const testing::TempDir dir;
  testing::WriteTinyModel(dir.path(), {.layers = layers});
  TinyWeights tiny{ReadConfig(dir / "config.json"), {}};
  tiny.weights = LoadWeights(tiny.config, Checkpoint::Open(dir.path()), WeightType::kNative, 1);
  return tiny;
}

RoundedCell CellRounding(const std::string& name, const WeightScheme& scheme,
                         const ModelConfig& config) {
  QuantizeSpec spec;
  spec.weights = scheme;
  return {name, {}, PlanModel(spec, config)};
}

Anatomy AnatomyOf(const TinyWeights& tiny, std::vector<RoundedCell> cells, size_t threads) {
  Anatomy anatomy{.model = "tiny", .weights_sha256 = "0"};
  anatomy.matrices = MeasureAnatomy(tiny.weights, cells, threads);
  anatomy.cells = std::move(cells);
  for (size_t c = 0; c < anatomy.cells.size(); ++c)
    anatomy.foretold.push_back(Foretell(anatomy.matrices, c));
  return anatomy;
}

// Error and reach as their definitions read, weight by weight.
RoundingLoss PlainLoss(const Matrix<float>& values, const WeightScheme& scheme) {
  const PackedMatrix packed = RoundToNearest(values.view(), scheme);
  const ScaleShape& scales = packed.scales();
  Matrix<float> decoded(values.rows(), values.cols());
  for (size_t r = 0; r < values.rows(); ++r) packed.DecodeRow(r, decoded.view().row_span(r));
  double error = 0, squares = 0, reach = 0;
  for (size_t r = 0; r < values.rows(); ++r) {
    for (size_t c = 0; c < values.cols(); ++c) {
      float low = 0, high = 0;
      for (size_t i = 0; i < values.rows(); ++i) {
        for (size_t j = 0; j < values.cols(); ++j) {
          if (scales.RowOf(i) != scales.RowOf(r) || scales.ColOf(j) != scales.ColOf(c)) continue;
          low = std::min(low, values(i, j));
          high = std::max(high, values(i, j));
        }
      }
      error += std::pow(static_cast<double>(values(r, c)) - static_cast<double>(decoded(r, c)), 2);
      squares += std::pow(static_cast<double>(values(r, c)), 2);
      reach += std::pow(static_cast<double>(high) - static_cast<double>(low), 2);
    }
  }
  return {std::sqrt(error / squares), std::sqrt(reach / squares)};
}

TEST_CASE("anatomy: rounding errors and reaches are those of their definitions") {
  const TinyWeights tiny = WeightsToLookAt(1);
  const std::vector<WeightScheme> schemes = {
      {.bits = 4, .group = 24},  // the last group of a row is shorter
      {.bits = 3, .granularity = Granularity::kRow, .symmetric = true},
      {.bits = 8, .granularity = Granularity::kTensor},
      {.bits = 4, .granularity = Granularity::kColumn},
      SchemeOf(*FindFormat("nf4"))};
  std::vector<RoundedCell> cells;
  for (const WeightScheme& scheme : schemes)
    cells.push_back(CellRounding(SchemeName(scheme), scheme, tiny.config));
  const std::vector<MatrixAnatomy> matrices = MeasureAnatomy(tiny.weights, cells, 2);
  const std::vector<const Linear*> linears = AllLinears(tiny.weights);
  REQUIRE(matrices.size() == linears.size());
  CHECK_FALSE(matrices.front().rounded[0]);  // kept
  for (size_t m = 1; m + 1 < matrices.size(); ++m) {
    CHECK(matrices[m].name == linears[m]->name);
    const Matrix<float> values = linears[m]->weight.Decode();
    for (size_t c = 0; c < schemes.size(); ++c) {
      INFO(matrices[m].name << " " << cells[c].name);
      const RoundingLoss expected = PlainLoss(values, schemes[c]);
      REQUIRE(matrices[m].rounded[c]);
      CHECK(matrices[m].rounded[c]->error == Approx(expected.error).epsilon(1e-9));
      CHECK(matrices[m].rounded[c]->reach == Approx(expected.reach).epsilon(1e-9));
    }
  }
}

TEST_CASE("anatomy: the same bytes for any number of threads") {
  const TinyWeights tiny = WeightsToLookAt(2);
  const std::vector<RoundedCell> cells = {CellRounding("rtn", {.group = 16}, tiny.config)};
  const Anatomy one = AnatomyOf(tiny, cells, 1), three = AnatomyOf(tiny, cells, 3);
  CHECK(AnatomyJson(one) == AnatomyJson(three));
  CHECK(AnatomyCsv(one) == AnatomyCsv(three));
}

TEST_CASE("anatomy: planted rows, columns and tails are found, and nothing else") {
  TinyWeights tiny = WeightsToLookAt(1);
  auto& linears = tiny.weights.blocks[0].linears;
  linears[kGate].weight = Weight(NormalMatrix(48, 32, 1));
  Matrix<float> planted = NormalMatrix(48, 32, 2);
  for (size_t c = 0; c < 32; ++c) planted(5, c) *= 10;
  linears[kUp].weight = Weight(std::move(planted));
  planted = NormalMatrix(32, 48, 3);
  for (size_t r = 0; r < 32; ++r) {
    planted(r, 7) *= 10;
    planted(r, 9) *= 10;
  }
  linears[kDown].weight = Weight(std::move(planted));
  const std::vector<MatrixAnatomy> matrices = MeasureAnatomy(tiny.weights, {}, 1);
  const auto of = [&](const std::string& name) {
    return *std::ranges::find(matrices, "layers.0.mlp." + name, &MatrixAnatomy::name);
  };
  const MatrixAnatomy gate = of("gate_proj"), up = of("up_proj"), down = of("down_proj");
  CHECK(gate.Kind() == "mlp.gate_proj");
  CHECK(gate.outputs->outliers + gate.inputs->outliers == 0);
  CHECK(gate.shape->normal_distance < NormalDistanceBound(gate.shape->count));
  CHECK(up.outputs->outliers == 1);
  CHECK(up.outputs->peak == Approx(10).epsilon(0.3));
  CHECK(down.inputs->outliers == 2);
  CHECK(down.outputs->outliers == 0);
  for (const MatrixAnatomy& matrix : {up, down}) {
    CHECK(matrix.shape->kurtosis > 3);
    CHECK(matrix.shape->normal_distance > NormalDistanceBound(matrix.shape->count));
    CHECK(matrix.shape->bulk < gate.shape->bulk);
  }
}

TEST_CASE("anatomy: a matrix of zeros has no shape and no error, and all is printed") {
  TinyWeights tiny = WeightsToLookAt(2);
  Matrix<float> zeros(32, 48);
  std::fill_n(zeros.data(), 32 * 48, 0.0f);
  tiny.weights.blocks[1].linears[kDown].weight = Weight(std::move(zeros));
  const Anatomy anatomy = AnatomyOf(tiny, {CellRounding("rtn", {}, tiny.config)}, 1);
  const nlohmann::json json = nlohmann::json::parse(AnatomyJson(anatomy));
  bool found = false;
  for (const nlohmann::json& matrix : json["matrices"]) {
    if (matrix["name"] != "layers.1.mlp.down_proj") continue;
    found = true;
    for (const char* field : {"kurtosis", "deviation", "row_peak", "column_peak", "rounded"})
      CHECK_FALSE(matrix.contains(field));
  }
  CHECK(found);
  CHECK(Contains(AnatomyText(anatomy, 80), "layers.1.mlp.down_proj"));
}

// Of six layers: kinds "a" and "b", whose errors differ; within a kind a larger kurtosis goes with
// a smaller error.
std::vector<MatrixAnatomy> KindsApart() {
  std::vector<MatrixAnatomy> matrices;
  for (size_t layer = 0; layer < 6; ++layer) {
    for (const double kind : {0.0, 1.0}) {
      MatrixAnatomy matrix{.name = "layers." + std::to_string(layer) + (kind > 0 ? ".b" : ".a")};
      const double step = static_cast<double>(layer);
      matrix.shape = SampleShape{.count = 100, .kurtosis = 100 * kind + step};
      matrix.rounded = {RoundingLoss{.error = 100 * kind - step, .reach = 100 * kind - step}};
      matrices.push_back(matrix);
    }
  }
  matrices.push_back({.name = "lm_head"});  // kept
  matrices.back().rounded = {std::nullopt};
  return matrices;
}

TEST_CASE("anatomy: what tells kinds apart alone is told from what tells layers apart") {
  const std::vector<Foretelling> foretold = Foretell(KindsApart(), 0);
  const auto by = [&](const std::string& name) {
    return *std::ranges::find(foretold, name, &Foretelling::name);
  };
  const Foretelling kurtosis = by("kurtosis"), reach = by(kReachName), rows = by("row_peak");
  CHECK(kurtosis.matrices == 12);
  CHECK(kurtosis.of_kinds == 12);
  CHECK(kurtosis.all->rho > 0.4);
  CHECK(kurtosis.within_kinds->rho == Approx(-1));
  CHECK(reach.all->rho == 1);
  CHECK(reach.within_kinds->rho == Approx(1));
  CHECK(rows.matrices == 0);
  CHECK_FALSE(rows.all);
}

TEST_CASE("anatomy: tables fit lines of 80, 120 and 160 characters") {
  const TinyWeights tiny = WeightsToLookAt(3);
  const Anatomy anatomy = AnatomyOf(tiny,
                                    {CellRounding("rtn", {.group = 16}, tiny.config),
                                     CellRounding("other", {.bits = 3, .group = 16}, tiny.config)},
                                    1);
  for (const size_t width : {80u, 120u, 160u}) {
    CAPTURE(width);
    const std::string text = AnatomyText(anatomy, width);
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) CHECK(TextWidth(line) <= width);
    for (const char* part : {"(a normal one)", "kurtosis", "rtn error (%)", "within kinds",
                             "int3 g16 asym", "reach of a scale's weights"}) {
      INFO(part);
      CHECK(Contains(text, part));
    }
  }
  CHECK(Contains(AnatomyText(anatomy, std::nullopt), "other error (%)"));
}

TEST_CASE("anatomy: every number has a name of its own and words that say what it is") {
  std::vector<std::string> names;
  for (const AnatomyField& field : AnatomyFields()) {
    names.emplace_back(field.name);
    CHECK(std::string(field.about).size() > 3);
  }
  std::sort(names.begin(), names.end());
  CHECK(std::adjacent_find(names.begin(), names.end()) == names.end());
}

}  // namespace
}  // namespace quantref
