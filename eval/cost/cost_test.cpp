#include "eval/cost/cost.h"

#include <catch2/catch.hpp>
#include <vector>

#include "eval/accuracy/accuracy.h"
#include "eval/speed/models.h"
#include "harness/base/machine.h"
#include "harness/kernels/probes.h"
#include "harness/model/kv_cache.h"
#include "harness/model/plan_model.h"
#include "harness/testing/testing.h"
#include "harness/testing/tiny_model.h"
#include "quantizers/registry.h"

namespace quantref {
namespace {

Model LoadTinyModel(const testing::TempDir& dir) {
  testing::WriteTinyModel(dir.path(), {});
  testing::WriteLetterTokenizer(dir.path());
  return LoadModel("tiny", dir.path(), WeightType::kNative, 1);
}

TEST_CASE("cost: memory counts the logits of every window at work, and what each thread needs") {
  const testing::TempDir dir;
  const Model model = LoadTinyModel(dir);
  const auto memory = [&](size_t cells, bool compare, size_t windows, size_t threads) {
    const std::vector<CellLoad> loads(cells);
    return EstimateMemory(model, windows, 64, loads, compare, threads);
  };
  const auto logits = [&](size_t models, bool compare) {
    return static_cast<double>(LogitBytes(model.config.vocab, models, compare));
  };
  CHECK(memory(1, true, 9, 1) - memory(0, true, 9, 1) == Approx(logits(2, true) - logits(1, true)));
  CHECK(memory(2, true, 9, 3) - memory(2, false, 9, 3) ==
        Approx(3 * (logits(3, true) - logits(3, false))));
  // One window on many threads: its logits once, but panels and scores of every thread.
  const double team = memory(2, true, 1, 4) - memory(2, true, 1, 1);
  CHECK(team > 0);
  CHECK(team == Approx(memory(0, true, 1, 4) - memory(0, true, 1, 1)));
  CHECK(memory(2, true, 4, 4) - memory(2, true, 1, 4) > 3 * logits(3, true));
}

TEST_CASE("cost: threads beyond the cores take memory, and save no time") {
  const testing::TempDir dir;
  const Model model = LoadTinyModel(dir);
  const size_t cores = CoreCount();
  const std::vector<Window> windows(5 * cores, Window{0, 64, 1});
  Rates rates(model.config, model.weights, 64, 1);
  const Cost all = EstimateCost(model, windows, {}, {}, cores, rates);
  const Cost more = EstimateCost(model, windows, {}, {}, 4 * cores, rates);
  CHECK(more.seconds == Approx(all.seconds));
  CHECK(more.memory_bytes > all.memory_bytes);
}

TEST_CASE("cost: what speed is measured with is counted, whatever the model's size") {
  const testing::TempDir dir;
  const ModelConfig config = LoadTinyModel(dir).config;
  ThroughputSpec spec;
  spec.kernels = false;
  const auto memory = [&](size_t formats) {
    return EstimateSpeedCost(config, spec, 1 + formats, formats).memory_bytes;
  };
  const auto probes = static_cast<double>(LimitBuffers::Bytes());
  CHECK(probes >= 256e6);
  CHECK(memory(1) == probes);
  spec.kernels = spec.standard_shapes = true;
  CHECK(memory(1) > probes + 4 * 14336 * 4096);
  CHECK(memory(2) > memory(1));
  // A reference of FP32 has its own numbers of the largest shape.
  CHECK(EstimateSpeedCost(config, spec, 2, 1, 1).memory_bytes >= memory(1) + 4 * 14336 * 4096);
  spec.measure = false;
  CHECK(memory(1) == 0);
}

TEST_CASE("cost: a model that is timed has its cache, rounded or not, and a prefill") {
  const testing::TempDir dir;
  const ModelConfig config = LoadTinyModel(dir).config;
  ThroughputSpec spec;
  const size_t cached = CachedTokens(spec, config.context);
  const KvScheme rounded{.bits = 4};
  const size_t rest = DecoderBytes(config, spec) - KvCache::Bytes(config, cached);
  CHECK(rest > 4 * config.vocab);
  CHECK(DecoderBytes(config, spec, rounded) == KvCache::Bytes(config, cached, rounded) + rest);
  spec.prefill = 0;
  CHECK(DecoderBytes(config, spec) < KvCache::Bytes(config, cached) + rest);
  spec.decode = 0;
  CHECK(DecoderBytes(config, spec) == 0);
}

TEST_CASE("cost: kept logits are priced, of every model, and their sums in the records") {
  const testing::TempDir dir;
  const Model model = LoadTinyModel(dir);
  const std::vector<Window> windows(3, Window{0, 64, 1});
  Method method;
  method.rounder = FindRounder("rtn");
  QuantizeSpec spec;
  spec.none = true;
  const std::vector<PlannedLinear> plan = PlanModel(spec, model.config);
  const std::vector<CellLoad> cells = {{.plan = plan, .method = &method}};
  Rates rates(model.config, model.weights, 64, 1);
  const Cost without = EstimateCost(model, windows, cells, {}, 1, rates);
  const Cost with = EstimateCost(model, windows, cells, {.kept_logits = true}, 1, rates);
  for (size_t c = 0; c < 2; ++c) {
    CHECK(without.cells[c].kept_logits == 0);
    CHECK(with.cells[c].kept_logits > 0);
    CHECK(with.cells[c].measure == Approx(without.cells[c].measure + with.cells[c].kept_logits));
  }
  CHECK(with.cells[0].kept_logits > with.cells[1].kept_logits);  // they are kept once
  CHECK(with.seconds > without.seconds);
  CHECK(with.record_bytes > without.record_bytes);
}

}  // namespace
}  // namespace quantref
