#include "eval/run/group_cost.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <string>

#include "eval/accuracy/reference_name.h"
#include "eval/accuracy/sensitivity.h"
#include "eval/candidate/candidate.h"
#include "eval/cost/cell_time.h"
#include "eval/ledger/block_ledger.h"
#include "eval/pass/group_score.h"
#include "eval/pass/shard_work.h"
#include "eval/run/group_budget.h"
#include "eval/run/group_train.h"
#include "harness/model/synthetic.h"

namespace quantref {
namespace {

// Of a model that a method has changed as a whole: what stays as it is then, and all of it in FP32
// while it is quantized.
double ReshapedBytes(const std::vector<PlannedLinear>& plan) {
  double bytes = 0;
  for (const PlannedLinear& linear : plan) {
    const auto weights = static_cast<double>(linear.shape.rows * linear.shape.cols);
    bytes += weights * (linear.scheme ? 4 : 2);
  }
  return bytes;
}

CellLoad CandidateLoad(const Pass& pass, const GroupCell& cell) {
  const bool loaded = std::any_of(pass.data(), &cell,
                                  [&](const GroupCell& before) { return LoadAlike(before, cell); });
  return {.weight_bytes = loaded ? 0 : CandidateBytes(*cell.candidate),
          .plan = cell.plan,
          .method = &cell.method,
          // Codes go both ways, and are compared; decoded ones go one.
          .kernels = cell.config->path.kernels && cell.candidate->stored.HoldsCodes(),
          .shape = &cell.shape};
}

}  // namespace

std::vector<CellLoad> LoadsOf(const Pass& pass) {
  std::vector<CellLoad> loads;
  for (const GroupCell& cell : pass) {
    if (cell.spec == nullptr) continue;
    if (cell.candidate != nullptr) {
      loads.push_back(CandidateLoad(pass, cell));
      continue;
    }
    CellLoad load{.plan = cell.plan,
                  .method = &cell.method,
                  .kernels = cell.config->path.kernels,
                  .kv_cache = cell.spec->kv_cache,
                  .shape = &cell.shape};
    load.weight_bytes = PlannedBytes(cell.shape, cell.plan, cell.config->path.kernels) +
                        static_cast<double>(OutlierWeightBytes(cell.plan, cell.spec->activations));
    if (!cell.method.model_transforms.empty()) load.weight_bytes += ReshapedBytes(cell.plan);
    if (cell.training != nullptr) load.training = TrainingOf(cell);
    if (load.training && load.training->lora)
      load.weight_bytes += LoraBytes(*load.training->lora, cell.plan);
    if (cell.calibration != nullptr) {
      const CalibrationData& data = cell.calibration->data;
      load.needs = cell.method.Needs(cell.plan);
      const TextRead read = ReadBy(data, load.needs);
      load.samples = read.samples;
      load.length = read.length;
      load.text = &data;
      load.sequential = data.sequential;
    }
    loads.push_back(load);
  }
  return loads;
}

namespace {

// Of what speeds are ratios to, where the reference is not FP16 (MeasureSpeeds).
double Fp16CopyBytes(const GroupContext& group, const Pass& pass) {
  const bool timed = std::any_of(pass.begin(), pass.end(), [](const GroupCell& cell) {
    return cell.config->throughput.measure;
  });
  return timed && !IsFp16(group.model->weights)
             ? static_cast<double>(SyntheticBytes(group.model->config, {}))
             : 0;
}

// Seconds of what a pass shows before the cells that take long.
struct LookSeconds {
  double quantize = 0, measure = 0;
};

LookSeconds FirstLookOf(const GroupContext& group, const Pass& pass, const Cost& cost) {
  LookSeconds look;
  if (!HasFirstLook(group, pass)) return look;
  look.measure = cost.cells[0].measure;
  auto seconds = cost.cells.begin();
  for (const GroupCell& cell : pass) {
    if (cell.spec == nullptr) continue;
    ++seconds;
    if (cell.TakesLong()) continue;
    look.quantize += seconds->quantize;
    look.measure += seconds->measure * static_cast<double>(1 + StepsBefore(group, cell));
  }
  look.measure *= static_cast<double>(kFirstLook) / static_cast<double>(group.windows.size());
  return look;
}

// While the budgets of the pass's cells are measured, before anything else is.
double BudgetBytes(const GroupContext& group, const Pass& pass) {
  double bytes = 0;
  for (const SensitivityTask& task : SensitivityTasks(group, std::span(&pass, 1))) {
    bytes = std::max(
        bytes, SensitivityBytes(group.model->config, task.plan, task.spec->budget->choices,
                                task.set->data.samples.size(), task.set->length, group.threads));
  }
  return bytes;
}

// From then on.
double MeasuringBytes(const GroupContext& group, const Pass& pass,
                      const std::vector<CellLoad>& loads) {
  return EstimateMemory(*group.model, group.windows.size(), group.LongestWindow(), loads,
                        group.config().accuracy.metrics.Compare(), group.threads) +
         Fp16CopyBytes(group, pass) + BytesOfLedgers(group, pass);
}
double MeasuringBytes(const GroupContext& group, const Pass& pass) {
  return MeasuringBytes(group, pass, LoadsOf(pass));
}

// Of each throughput spec that something is timed by, in their order.
std::vector<Cost> SpeedCosts(const GroupContext& group, const Pass& pass) {
  if (group.shards.part) return {};
  const size_t others = IsFp16(group.model->weights) ? 0 : 1;  // beside FP16 weights
  std::vector<ThroughputSpec> told;
  std::vector<Cost> costs;
  for (const GroupCell& cell : pass) {
    const ThroughputSpec& spec = cell.config->throughput;
    if (!spec.measure || std::find(told.begin(), told.end(), spec) != told.end()) continue;
    told.push_back(spec);
    size_t models = 1 + others;
    size_t decoders = models * DecoderBytes(group.model->config, spec);
    std::set<std::string> formats;
    for (const GroupCell& other : pass) {
      if (other.spec == nullptr || other.config->throughput != spec || !IsTimed(other)) continue;
      ++models;
      decoders += DecoderBytes(group.model->config, spec, other.spec->kv_cache);
      AddFormats(other.plan, other.spec->activations, formats);
    }
    costs.push_back(EstimateSpeedCost(group.model->config, spec, models, formats.size(), others));
    costs.back().memory_bytes += static_cast<double>(decoders);
  }
  return costs;
}

// While speed is measured. The allocator keeps what scoring has used.
double TimingBytes(const GroupContext& group, const Pass& pass) {
  double timed_with = 0;
  for (const Cost& speed : SpeedCosts(group, pass))
    timed_with = std::max(timed_with, speed.memory_bytes);
  std::vector<CellLoad> made = LoadsOf(pass);
  for (CellLoad& load : made) {
    load.samples = 0;
    load.training.reset();
  }
  return MeasuringBytes(group, pass, made) + timed_with;
}

}  // namespace

MemoryNeed NeedOf(const GroupContext& group, const Pass& pass) {
  return {.memory = std::max(
              {MeasuringBytes(group, pass), BudgetBytes(group, pass), TimingBytes(group, pass)}),
          .reserved = ReservedBytes(group.threads)};
}

Rates& GroupCost::OwnRates() {
  if (!rates_) {
    rates_.emplace(group_.model->config, group_.model->weights, group_.LongestWindow(),
                   ThreadsAtWork(group_.threads));
  }
  return *rates_;
}

double GroupCost::Sensitivities(std::span<const Pass> passes) {
  double seconds = 0;
  for (const SensitivityTask& task : SensitivityTasks(group_, passes)) {
    const SensitivityWork work =
        SensitivityWorkOf(group_.model->config, task.plan, task.spec->budget->choices.size());
    seconds += CellTime(group_.model->config, nullptr, ThreadsAtWork(group_.threads), OwnRates())
                   .Sensitivity(work, task.set->data.samples.size(), task.set->length);
  }
  return seconds;
}

Cost GroupCost::Of(const Pass& pass) {
  const std::vector<CellLoad> loads = LoadsOf(pass);
  Cost cost = EstimateCost(*group_.model, OwnWindows(group_), loads,
                           group_.config().accuracy.metrics, group_.threads, OwnRates());
  cost.memory_bytes += Fp16CopyBytes(group_, pass) + BytesOfLedgers(group_, pass);
  cost.memory_bytes += NeedOf(group_, pass).memory - MeasuringBytes(group_, pass);
  for (const CellLoad& load : loads) {
    if (load.samples > 0 || load.training)
      cost.journal_bytes += load.weight_bytes;  // kept until the records stand
  }
  for (const Cost& speed : SpeedCosts(group_, pass))
    cost.throughput_seconds += speed.throughput_seconds;
  cost.seconds += FirstLookOf(group_, pass, cost).measure + SecondsOfSteps(group_, pass, cost);
  for (const double seconds : SecondsOfBlocks(group_, pass, cost)) cost.seconds += seconds;
  return cost;
}

Cost GroupCost::PlanEta(std::span<const Pass> passes) {
  std::vector<RunEta::Stage> stages;
  size_t cells = 0;
  Cost total;
  total.sensitivity_seconds = Sensitivities(passes);
  if (total.sensitivity_seconds > 0)
    stages.push_back({RunEta::Kind::kSensitivity, total.sensitivity_seconds});
  for (const Pass& pass : passes) {
    const Cost cost = Of(pass);
    const LookSeconds look = FirstLookOf(group_, pass, cost);
    total.Add(cost);
    if (look.quantize > 0) stages.push_back({RunEta::Kind::kQuantize, look.quantize});
    if (look.measure > 0) stages.push_back({RunEta::Kind::kMeasure, look.measure});
    const double quantize = cost.quantize_seconds - cost.train_seconds - look.quantize;
    if (quantize > 0) stages.push_back({RunEta::Kind::kQuantize, quantize});
    if (cost.train_seconds > 0) stages.push_back({RunEta::Kind::kTrain, cost.train_seconds});
    const std::vector<double> ledgers = SecondsOfBlocks(group_, pass, cost);
    const double later = std::accumulate(ledgers.begin(), ledgers.end(), 0.0);
    stages.push_back({RunEta::Kind::kMeasure, cost.seconds - look.measure - later});
    for (const double seconds : ledgers) stages.push_back({RunEta::Kind::kMeasure, seconds});
    for (const Cost& speed : SpeedCosts(group_, pass))
      stages.push_back({RunEta::Kind::kSpeed, speed.throughput_seconds});
    cells += pass.size();
  }
  group_.eta.Plan(stages, cells);
  return total;
}

}  // namespace quantref
