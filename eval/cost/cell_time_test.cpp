#include "eval/cost/cell_time.h"

#include <catch2/catch.hpp>
#include <vector>

#include "harness/model/attention.h"
#include "harness/model/plan_model.h"
#include "harness/testing/testing.h"
#include "harness/testing/tiny_model.h"
#include "quantizers/registry.h"

// Rates are measured once and then held, so what is put together from them is exact.

namespace quantref {
namespace {

using testing::TempDir;
using testing::TinyModel;

constexpr WeightScheme kInt4 = {.bits = 4, .granularity = Granularity::kGroup, .group = 16};

// A tiny model, a cell of it, and the rates of both.
struct Cell {
  explicit Cell(const char* transform = nullptr, const char* rounder = "rtn",
                TinyModel shape = {}) {
    shape.context = 4096;
    testing::WriteTinyModel(dir.path(), shape);
    config = ReadConfig(dir / "config.json");
    weights = LoadWeights(config, Checkpoint::Open(dir.path()), WeightType::kNative, 1);
    if (transform != nullptr) method.transforms = {FindTransform(transform)};
    method.rounder = FindRounder(rounder);
    QuantizeSpec spec;
    spec.weights = kInt4;
    plan = PlanModel(spec, config);
    load.plan = plan;
    load.method = &method;
    load.needs = method.Needs(plan);
  }

  double Measure(const std::vector<Window>& windows, size_t threads = 1) {
    return CellTime(config, nullptr, threads, rates).Measure(windows, true);
  }
  double Quantize(size_t threads = 1) { return CellTime(config, &load, threads, rates).Quantize(); }

  TempDir dir;
  void Slide(size_t window) {
    for (LayerConfig& layer : config.layers) layer.sliding_window = window;
  }

  ModelConfig config;
  ModelWeights weights;
  Method method;
  std::vector<PlannedLinear> plan;
  CellLoad load;
  Rates rates{config, weights, 2048, 1};
};

TEST_CASE("cell time: attention counts every query with the keys that its tile sees") {
  Cell cell;
  const auto forward = [&](size_t tokens) { return cell.Measure({{0, tokens, tokens}}); };
  // Of ten tiles the first sees the keys of one tile, the second of two, and so on.
  constexpr size_t kHalf = 10 * kQueryTile, kWhole = 20 * kQueryTile;
  const double tile = static_cast<double>(kQueryTile * kQueryTile);
  const double pairs = tile * (20 * 21 / 2) - 2 * tile * (10 * 11 / 2);
  CHECK(forward(kWhole) - 2 * forward(kHalf) == Approx(2 * 4 * pairs * cell.rates.Pair()));
  cell.Slide(1);
  CHECK(forward(kWhole) == Approx(2 * forward(kHalf)));
  cell.Slide(kQueryTile + 1);  // each tile but the first sees one more
  CHECK(forward(kWhole) - kWhole * 2 * cell.rates.BlockToken() ==
        Approx(2 * 4 * (20 + 19) * tile * cell.rates.Pair()));
}

TEST_CASE("cell time: windows take turns on the threads") {
  Cell cell;
  const std::vector<Window> five(5, Window{0, 64, 1});
  const double one = cell.Measure({five.front()});
  CHECK(cell.Measure(five, 1) == Approx(5 * one));
  CHECK(cell.Measure(five, 2) == Approx(2.5 * one));  // of the last both threads are
  CHECK(cell.Measure(five, 3) == Approx(2 * one));
  CHECK(cell.Measure(five, 8) == Approx(one));
  CHECK(cell.Measure(five, 10) == Approx(one / 2));
}

TEST_CASE("cell time: scored positions cost logits, and comparisons where they are compared") {
  Cell cell;
  const double scored = cell.Measure({{0, 64, 1}}) - cell.Measure({{0, 64, 64}});
  CHECK(scored == Approx(63 * (cell.rates.Head() + cell.rates.Score())));
  const std::vector<Window> window = {{0, 64, 1}};
  const CellTime time(cell.config, &cell.load, 1, cell.rates);
  CHECK(time.Measure(window, true) - time.Measure(window, false) ==
        Approx(63 * (cell.rates.Compare() - cell.rates.Score())));
}

TEST_CASE("cell time: kept logits cost their making once, and a comparison with every model") {
  Cell cell;
  const std::vector<Window> two(2, Window{0, 64, 1});
  CHECK(cell.rates.Keep() > 0);
  CHECK(cell.rates.CompareKept() > 0);
  const double compared = 63 * cell.rates.CompareKept(), kept = 63 * cell.rates.Keep();
  CHECK(CellTime(cell.config, &cell.load, 1, cell.rates).KeptLogits(two) == Approx(2 * compared));
  CHECK(CellTime(cell.config, nullptr, 1, cell.rates).KeptLogits(two) ==
        Approx(2 * (kept + compared)));
  CHECK(CellTime(cell.config, nullptr, 2, cell.rates).KeptLogits(two) == Approx(kept + compared));
}

TEST_CASE("cell time: what a method searches is counted") {
  Cell awq("awq");
  awq.load.samples = 4;
  awq.load.length = 64;
  Knobs knobs(FindTransform("awq")->knobs());
  const auto with_grid = [&](double grid) {
    knobs.Set("grid", grid);
    awq.method.knobs.insert_or_assign("awq", knobs);
    return awq.Quantize();
  };
  const double twenty = with_grid(20), forty = with_grid(40), sixty = with_grid(60);
  CHECK(forty > twenty);
  CHECK(sixty - forty == Approx(forty - twenty));
  awq.method.transforms.clear();
  CHECK(twenty > awq.Quantize());
}

TEST_CASE("cell time: calibration grows with its samples, GPTQ with its matrices") {
  Cell gptq(nullptr, "gptq");
  gptq.load.length = 64;
  const auto with_samples = [&](size_t samples) {
    gptq.load.samples = samples;
    return gptq.Quantize();
  };
  const double sixteen = with_samples(16);
  CHECK(with_samples(48) - sixteen == Approx(2 * (with_samples(32) - sixteen)));
  double rounding = 0;
  for (const PlannedLinear& linear : gptq.plan) {
    if (linear.scheme) rounding += gptq.rates.Round(linear, gptq.method);
  }
  CHECK(rounding > 0);
  CHECK(sixteen > rounding);
}

TEST_CASE("cell time: what cells share is priced once") {
  const auto load = [](Cell& cell, bool sequential) {
    cell.load.samples = 16;
    cell.load.length = 64;
    cell.load.sequential = sequential;
  };
  for (const bool sequential : {true, false}) {
    Cell gptq(nullptr, "gptq"), awq("awq", "gptq");
    load(gptq, sequential);
    load(awq, sequential);
    const CellTime time(awq.config, &awq.load, 1, awq.rates);
    const CellLoad *other = &gptq.load, *same = &awq.load;
    const double alone = time.Quantize(), behind = time.Quantize(std::span(&other, 1)),
                 twice = time.Quantize(std::span(&same, 1));
    CHECK(behind < alone);  // the pass and the sums
    CHECK(twice < behind);  // and the search
    // Of two blocks the first, or all but rounding.
    double rounding = 0;
    for (const PlannedLinear& linear : awq.plan) {
      if (linear.scheme) rounding += awq.rates.Round(linear, awq.method);
    }
    CHECK(twice > rounding);
    if (!sequential) CHECK(alone - twice > 1.5 * (alone - behind));
  }
}

TEST_CASE("cell time: the gate costs passes of both paths, and nothing without kernels") {
  Cell cell;
  const std::vector<Window> windows = {{0, 600, 1}};
  const auto gate = [&] { return CellTime(cell.config, &cell.load, 1, cell.rates).Gate(windows); };
  CHECK(gate() == 0);
  cell.load.kernels = true;
  CHECK(gate() > 512 * cell.rates.Compare());
}

}  // namespace
}  // namespace quantref
