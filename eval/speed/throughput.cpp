#include "eval/speed/throughput.h"

#include <algorithm>
#include <memory>

#include "eval/speed/interleave.h"
#include "eval/speed/kernels.h"
#include "eval/speed/models.h"
#include "harness/base/check.h"
#include "harness/base/free_cores.h"
#include "harness/base/team.h"
#include "harness/kernels/probes.h"

namespace quantref {
namespace {

// Of the limits, before and after, or as many as there are samples; one before each shape.
constexpr size_t kReadings = 3;

void TakeReadings(const LimitBuffers& buffers, std::span<const std::unique_ptr<Team>> teams,
                  size_t count, const Steps& steps, std::vector<LimitReadings>& readings) {
  for (size_t team = 0; team < teams.size(); ++team) {
    steps.Look("the machine's limits");
    readings[team].Take(buffers, teams[team].get(), count);
  }
}

}  // namespace

Throughput MeasureThroughput(
    std::span<const ThroughputModel> models, const ThroughputSpec& spec,
    const std::function<void(size_t done, size_t total, std::string_view what)>& progress) {
  Throughput result{};
  if (!spec.measure) return result;
  QR_CHECK(!models.empty());
  for (const ThroughputModel& model : models) {
    CellThroughput& cell = result.cells.emplace_back();
    if (model.weights != nullptr) cell.decoded_each_call = DecodedEachCall(*model.weights);
  }
  std::vector<std::unique_ptr<Team>> teams;
  for (const size_t threads : spec.threads)
    teams.push_back(threads == 1 ? nullptr : std::make_unique<Team>(threads));
  std::vector<LimitReadings> readings(teams.size());
  KernelBench kernels(models, spec);
  Rng rng(1);
  Steps steps(progress, kernels.steps() + ModelSteps(models, spec));

  const size_t around = std::min(kReadings, spec.repetitions);
  steps.Look("free cores");
  result.cores.before = MeasureFreeCores();
  const LimitBuffers buffers;
  TakeReadings(buffers, teams, around, steps, readings);
  MeasureModels(models, spec, teams, rng, steps, result.cells);
  kernels.Measure(teams, steps, result.cells,
                  [&] { TakeReadings(buffers, teams, 1, steps, readings); });
  TakeReadings(buffers, teams, around, steps, readings);
  result.cores.after = MeasureFreeCores();

  for (size_t team = 0; team < teams.size(); ++team) {
    const LimitReadings& limits = readings[team];
    result.rooflines.push_back({spec.threads[team], limits.read_memory() / 1e9,
                                limits.read_cache() / 1e9, limits.fma() / 1e9, limits.dot() / 1e9});
  }
  return result;
}

}  // namespace quantref
