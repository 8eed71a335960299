#include <catch2/catch.hpp>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "harness/method/quantize_model.h"
#include "harness/method/sample_share_testing.h"
#include "harness/model/plan_model.h"
#include "quantizers/registry.h"
#include "quantizers/shared_work_testing.h"

// QuantizeModels: cells that share work come out as they do alone, whatever the others are.

namespace quantref {
namespace {

using testing::MakeSharedCell;
using testing::SharedCell;
using testing::SharedModel;

// Counts how often a transform is applied.
class CountedTransform final : public Transform {
 public:
  std::string_view name() const override { return "counted"; }
  std::string_view summary() const override { return "for this test"; }
  DataNeeds needs(const Knobs&) const override { return {.channel_mean = true}; }
  void Apply(CalibratedBlock& block, const Knobs&, size_t) const override {
    ++calls;
    const ScalingGroup group = block.shape.layout().ScalingGroups().front();
    Fold(block, group, std::vector<float>(block.shape.layout().Channels(group.tap), 0.7f));
  }
  mutable int calls = 0;
};

struct SharedOutcome {
  std::string hash;
  std::vector<std::optional<double>> errors;
  QuantizeSeconds seconds;
};

// `share`: of a process that shares samples. What callbacks get is looked at here, since checks are
// for one thread at a time.
std::vector<SharedOutcome> QuantizeShared(const SharedModel& model,
                                          const std::vector<SharedCell>& cells, size_t threads,
                                          SampleShare* share = nullptr) {
  std::vector<QuantizeTask> tasks;
  for (const SharedCell& cell : cells)
    tasks.push_back({cell.plan, cell.method, &model.data, cell.products, cell.name});
  std::vector<SharedOutcome> outcomes(cells.size());
  size_t done = 0, total = 0, finished = 0;
  bool steady = true;
  QuantizeModels(model.config, model.weights, tasks, threads,
                 {.progress =
                      [&](size_t d, size_t t, std::string_view) {
                        steady = steady && d >= done;
                        done = d, total = t;
                      },
                  .finished =
                      [&](size_t task, QuantizedModel made) {
                        ++finished;
                        outcomes[task] = {HashQuantized(made.weights), {}, made.seconds};
                        for (const LayerReport& layer : made.layers)
                          outcomes[task].errors.push_back(layer.output_mse);
                      },
                  .failed = {}},
                 share);
  if (!steady || finished != cells.size() || done != total)
    throw std::runtime_error("odd progress");
  return outcomes;
}

std::vector<SharedCell> SomeSharedCells(const SharedModel& model) {
  std::vector<SharedCell> cells;
  for (const char* name : {"rtn", "gptq", "awq+rtn", "awq+gptq", "smoothquant+rtn"})
    cells.push_back(MakeSharedCell(model, name, 3));
  cells.push_back(MakeSharedCell(model, "awq+rtn", 4));
  cells.push_back(MakeSharedCell(model, "awq+rtn", 3));  // which sees two tokens of a sample
  Knobs few = testing::FewCandidates();
  few.Set("tokens", 32);
  cells.back().method.knobs.insert_or_assign("awq", few);
  cells.push_back(MakeSharedCell(model, "gptq", 2, 3));  // parts from "gptq" behind the first block
  cells.push_back(MakeSharedCell(model, "gptq", 3));
  cells.back().products = Products::kKernel;
  cells.push_back(MakeSharedCell(model, "awq+gptq", 3));  // tap by tap
  Knobs knobs(cells.back().method.rounder->knobs());
  knobs.Set("true_sequential", 1);
  cells.back().method.knobs.insert_or_assign("gptq", knobs);
  cells.push_back(MakeSharedCell(model, "smoothquant+gptq", 4));
  cells.back().method.activations = ActivationScheme{8, false, false};
  if (!model.data.sequential) return cells;
  for (const bool tap_by_tap : {false, true}) {  // beside the reference's inputs
    for (const char* name : {"gptq", "awq+gptq"}) {
      cells.push_back(MakeSharedCell(model, name, 3));
      Knobs own(FindRounder("gptq")->knobs());
      own.Set("asymmetric", 1);
      own.Set("true_sequential", tap_by_tap ? 1 : 0);
      cells.back().method.knobs.insert_or_assign("gptq", own);
    }
  }
  return cells;
}

TEST_CASE("shared work: a cell comes out as alone, whatever its neighbours", "[shared_work]") {
  for (const bool sequential : {true, false}) {
    SharedModel model;
    model.data.sequential = sequential;
    const std::vector<SharedCell> cells = SomeSharedCells(model);
    const std::vector<SharedOutcome> together = QuantizeShared(model, cells, 2);
    std::vector<SharedCell> reversed(cells.rbegin(), cells.rend());
    const std::vector<SharedOutcome> other_order = QuantizeShared(model, reversed, 1);
    for (size_t i = 0; i < cells.size(); ++i) {
      INFO(cells[i].name << " " << i << (sequential ? "" : ", reading the reference"));
      const SharedOutcome alone = QuantizeShared(model, {cells[i]}, 1).front();
      CHECK(together[i].hash == alone.hash);
      CHECK(together[i].errors == alone.errors);
      CHECK(other_order[cells.size() - 1 - i].hash == alone.hash);
      CHECK(alone.seconds.shared == 0);
      CHECK(together[i].seconds.shared <= together[i].seconds.Total());
    }
    CHECK(together[0].seconds.shared == 0);  // rtn reads for its report alone
    CHECK(together[1].seconds.shared > 0);
    model.data.activation_budget = 0;
    CHECK(QuantizeShared(model, cells, 2)[2].hash == together[2].hash);
  }
}

std::vector<SharedCell> CellsWithHeads(const SharedModel& model) {
  std::vector<SharedCell> cells;
  for (const char* name : {"gptq", "awq+gptq", "smoothquant+gptq"}) {
    SharedCell& cell = cells.emplace_back(MakeSharedCell(model, name, 4));
    QuantizeSpec spec;
    spec.keep.clear();
    spec.weights = {
        .bits = cells.size() == 2 ? 3 : 4, .granularity = Granularity::kGroup, .group = 16};
    cell.plan = PlanModel(spec, model.config);
  }
  return cells;
}

TEST_CASE("shared work: quantized embeddings and heads", "[shared_work]") {
  for (const bool tied : {true, false}) {
    const SharedModel model(tied);
    const std::vector<SharedCell> cells = CellsWithHeads(model);
    const std::vector<SharedOutcome> together = QuantizeShared(model, cells, 2);
    for (size_t i = 0; i < cells.size(); ++i) {
      INFO(cells[i].name << (tied ? ", tied" : ""));
      CHECK(together[i].hash == QuantizeShared(model, {cells[i]}, 2).front().hash);
    }
  }
}

void CheckShared(const SharedModel& model, const std::vector<SharedCell>& cells, size_t processes) {
  const std::vector<SharedOutcome> alone = QuantizeShared(model, cells, 1);
  std::vector<std::vector<SharedOutcome>> all(processes);
  testing::ShareSamples(processes, [&](SampleShare& share) {
    all[share.rank()] = QuantizeShared(model, cells, 1 + share.rank() % 2, &share);
  });
  for (const std::vector<SharedOutcome>& outcomes : all) {
    for (size_t i = 0; i < cells.size(); ++i) {
      INFO(cells[i].name << " " << i << ", " << processes << " processes");
      CHECK(outcomes[i].hash == alone[i].hash);
      CHECK(outcomes[i].errors == alone[i].errors);
    }
  }
}

TEST_CASE("shared work: processes with a part of the samples each make the models of one",
          "[shared_work]") {
  SharedModel model;
  CheckShared(model, SomeSharedCells(model), 2);
  model.data.activation_budget = 0;
  CheckShared(model, {MakeSharedCell(model, "awq+gptq", 3)}, testing::kSharedSamples + 1);
  model.data.sequential = false;
  CheckShared(model, {MakeSharedCell(model, "gptq", 3), MakeSharedCell(model, "awq+rtn", 4)}, 3);
  const SharedModel tied(true), untied(false);
  for (const SharedModel* heads : {&tied, &untied}) CheckShared(*heads, CellsWithHeads(*heads), 3);
}

TEST_CASE("shared work: a transform is applied once to what is the same", "[shared_work]") {
  SharedModel model;
  const CountedTransform counted;
  std::vector<SharedCell> cells = {MakeSharedCell(model, "rtn", 4),
                                   MakeSharedCell(model, "gptq", 4),
                                   MakeSharedCell(model, "rtn", 3)};
  for (SharedCell& cell : cells) cell.method.transforms = {&counted};
  const auto calls = [&](std::vector<size_t> chosen) {
    counted.calls = 0;
    std::vector<SharedCell> some;
    for (const size_t i : chosen) some.push_back(cells[i]);
    QuantizeShared(model, some, 1);
    return counted.calls;
  };
  CHECK(calls({0}) == 3);
  CHECK(calls({0, 1}) == 5);     // the first block together
  CHECK(calls({0, 0}) == 3);     // all of them: one and the same cell
  CHECK(calls({0, 1, 2}) == 8);  // other bits are searched for by themselves
  model.data.sequential = false;
  CHECK(calls({0, 1}) == 3);
  CHECK(calls({0, 1, 2}) == 6);
}

TEST_CASE("shared work: hidden states are held as often as is said", "[shared_work]") {
  CHECK(MostStores(1, true) == 1);
  CHECK(MostStores(2, true) == 2);
  CHECK(MostStores(3, true) == 2);
  CHECK(MostStores(4, true) == 3);
  CHECK(MostStores(9, false) == 1);
}

}  // namespace
}  // namespace quantref
