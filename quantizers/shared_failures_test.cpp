#include <catch2/catch.hpp>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "harness/base/error.h"
#include "harness/method/quantize_model.h"
#include "harness/method/sample_share_testing.h"
#include "harness/model/plan_model.h"
#include "harness/quant/grid.h"
#include "harness/testing/scoped_variable.h"
#include "harness/testing/testing.h"
#include "quantizers/shared_work_testing.h"

// QuantizeModels: of cells that share work one that fails does so alone, in every process.

namespace quantref {
namespace {

using testing::MakeSharedCell;
using testing::SharedCell;
using testing::SharedModel;

// Cannot round anything in this block.
class FailsInBlock final : public Rounder {
 public:
  explicit FailsInBlock(std::string block, bool tap_by_tap = false)
      : block_(std::move(block)), tap_by_tap_(tap_by_tap) {}
  std::string_view name() const override { return "failing"; }
  std::string_view summary() const override { return "for this test"; }
  DataNeeds needs(const Knobs&) const override {
    return {.channel_mean = true, .true_sequential = tap_by_tap_};
  }
  Rounded Round(const RoundInput& input) const override {
    if (input.name.starts_with(block_)) throw Error("odd weights", "here");
    return {RoundToNearest(input.weights, input.scheme)};
  }

 private:
  const std::string block_;
  const bool tap_by_tap_;
};

// Hashes of those that were made, and who was not.
struct PartlyFailed {
  std::map<size_t, std::string> hashes;
  std::vector<size_t> failed;
};

QuantizeCallbacks CallbacksOf(PartlyFailed& some) {
  return {.finished = [&](size_t task,
                          QuantizedModel made) { some.hashes[task] = HashQuantized(made.weights); },
          .failed = [&](size_t task, const Error&) { some.failed.push_back(task); }};
}

std::vector<QuantizeTask> TasksOf(const SharedModel& model, const std::vector<SharedCell>& cells) {
  std::vector<QuantizeTask> tasks;
  for (const SharedCell& cell : cells) tasks.push_back({cell.plan, cell.method, &model.data});
  return tasks;
}

PartlyFailed QuantizeSome(const SharedModel& model, const std::vector<SharedCell>& cells,
                          size_t threads, SampleShare* share = nullptr) {
  PartlyFailed some;
  QuantizeModels(model.config, model.weights, TasksOf(model, cells), threads, CallbacksOf(some),
                 share);
  return some;
}

std::vector<SharedCell> CellsOfThreeMethods(const SharedModel& model) {
  return {MakeSharedCell(model, "gptq", 4), MakeSharedCell(model, "rtn", 4),
          MakeSharedCell(model, "awq+gptq", 4)};
}

// Of each cell where nothing is shared.
std::vector<std::string> HashesAlone(const SharedModel& model,
                                     const std::vector<SharedCell>& cells) {
  std::vector<std::string> hashes;
  for (const SharedCell& cell : cells)
    hashes.push_back(QuantizeSome(model, {cell}, 1).hashes.at(0));
  return hashes;
}

void CheckSecondFailed(const PartlyFailed& some, const std::vector<std::string>& hashes) {
  CHECK(some.failed == std::vector<size_t>{1});
  REQUIRE(some.hashes.size() == 2);
  CHECK(some.hashes.at(0) == hashes[0]);
  CHECK(some.hashes.at(2) == hashes[2]);
}

TEST_CASE("shared failures: one cell's error is not the others'", "[shared_failures]") {
  for (const bool sequential : {true, false}) {
    SharedModel model;
    model.data.sequential = sequential;
    const FailsInBlock in_last("layers.2.");
    std::vector<SharedCell> cells = CellsOfThreeMethods(model);
    const std::vector<std::string> hashes = HashesAlone(model, cells);
    cells[1].method.rounder = &in_last;
    CheckSecondFailed(QuantizeSome(model, cells, 2), hashes);
    PartlyFailed some;
    QuantizeCallbacks without = CallbacksOf(some);
    without.failed = {};
    CHECK_THROWS_AS(QuantizeModels(model.config, model.weights, TasksOf(model, cells), 1, without),
                    Error);
  }
}

// Else the others would wait for it, or take what it sends for the next cell for this one's.
TEST_CASE("shared failures: what fails in one process alone fails in all, and nothing else does",
          "[shared_failures]") {
  constexpr size_t kProcesses = 3;
  const SharedModel model;
  const std::vector<SharedCell> cells = CellsOfThreeMethods(model);
  const std::vector<std::string> hashes = HashesAlone(model, cells);
  for (const bool tap_by_tap : {false, true}) {
    for (size_t failing = 0; failing < kProcesses; ++failing) {
      INFO("process " << failing << (tap_by_tap ? ", tap by tap" : ""));
      std::vector<PartlyFailed> all(kProcesses);
      testing::ShareSamples(kProcesses, [&](SampleShare& share) {
        const FailsInBlock rounder(share.rank() == failing ? "layers.1." : "none", tap_by_tap);
        std::vector<SharedCell> own = cells;
        own[1].method.rounder = &rounder;
        all[share.rank()] = QuantizeSome(model, own, 1, &share);
      });
      for (const PartlyFailed& some : all) CheckSecondFailed(some, hashes);
    }
  }
}

// Makes of a matrix that is kept one that FP16 cannot hold.
class SwellsKept final : public Transform {
 public:
  std::string_view name() const override { return "swelling"; }
  std::string_view summary() const override { return "for this test"; }
  DataNeeds needs(const Knobs&) const override { return {.channel_mean = true}; }
  void Apply(CalibratedBlock& block, const Knobs&, size_t) const override {
    Weight& kept = block.weights.linears[kO].weight;
    Matrix<float> values = kept.Decode();
    values(0, 0) = 1e6f;
    kept = Weight(std::move(values));
  }
};

TEST_CASE("shared failures: a block that cannot be stored is one cell's error, tap by tap too",
          "[shared_failures]") {
  const SharedModel model(false, "F16");
  std::vector<SharedCell> cells = CellsOfThreeMethods(model);
  const std::vector<std::string> hashes = HashesAlone(model, cells);
  const SwellsKept swelling;
  QuantizeSpec spec;
  spec.weights = {.bits = 4, .granularity = Granularity::kGroup, .group = 16};
  spec.keep.push_back("*o_proj");
  cells[1].plan = PlanModel(spec, model.config);
  cells[1].method.transforms = {&swelling};
  for (const bool tap_by_tap : {false, true}) {
    const FailsInBlock rounder("none", tap_by_tap);
    cells[1].method.rounder = &rounder;
    CheckSecondFailed(QuantizeSome(model, cells, 1), hashes);
    std::vector<PartlyFailed> both(2);
    testing::ShareSamples(
        2, [&](SampleShare& share) { both[share.rank()] = QuantizeSome(model, cells, 1, &share); });
    for (const PartlyFailed& some : both) CheckSecondFailed(some, hashes);
  }
}

// In the process that has no place for them.
TEST_CASE("shared failures: cells without room for hidden states fail, and what needs none is made",
          "[shared_failures]") {
  const SharedModel model;
  SharedModel without_room;
  without_room.data.activation_budget = 0;
  const testing::ScopedVariable nowhere("TMPDIR", "/none");
  const SharedCell calibrated = MakeSharedCell(model, "gptq", 4),
                   other = MakeSharedCell(model, "rtn", 4);
  const auto quantize = [&](const SharedModel& own, SampleShare* share) {
    PartlyFailed some;
    QuantizeModels(own.config, own.weights,
                   std::vector<QuantizeTask>{{calibrated.plan, calibrated.method, &own.data},
                                             {other.plan, other.method}},
                   1, CallbacksOf(some), share);
    return some.failed == std::vector<size_t>{0} && some.hashes.contains(1);
  };
  CHECK(quantize(without_room, nullptr));
  std::vector<char> right(2);
  testing::ShareSamples(2, [&](SampleShare& share) {
    right[share.rank()] = quantize(share.rank() == 0 ? model : without_room, &share);
  });
  for (const char is_right : right) CHECK(is_right);
}

}  // namespace
}  // namespace quantref
