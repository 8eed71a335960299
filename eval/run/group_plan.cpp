// GroupRun before it measures: which cells, in which passes, at what cost.

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>

#include "eval/accuracy/reference_name.h"
#include "eval/record/reference.h"
#include "eval/run/environment.h"
#include "eval/run/group_run.h"
#include "eval/run/texts.h"
#include "eval/support/say.h"
#include "eval/support/terminal.h"
#include "eval/support/text_table.h"
#include "harness/base/cancel.h"
#include "harness/kernels/gemm.h"
#include "harness/model/plan_model.h"
#include "harness/model/synthetic.h"

namespace quantref {
namespace {

// Of the memory that is free now, what the cells of a pass may take.
constexpr double kMostMemory = 0.8;

// The pass's cells in the order of their work. The reference is measured once for all configs.
void AddRows(const Pass& pass, const Cost& cost, const std::string& when,
             std::vector<PlanRow>& rows) {
  size_t quantized = 0;
  for (const GroupCell& cell : pass) {
    PlanRow row{cell.config->name, cell.label, cell.plan, when};
    const Cost::Cell& seconds = cost.cells[cell.spec == nullptr ? 0 : ++quantized];
    row.quantize_seconds = seconds.quantize;
    if (cell.spec != nullptr || &cell == &pass.front()) row.seconds = seconds.measure;
    rows.push_back(std::move(row));
  }
}

// What a plan finds in place.
double LoadedBytes(const ModelWeights& weights) {
  const Checkpoint& checkpoint = *weights.checkpoint;
  return static_cast<double>(checkpoint.FileBytes() + checkpoint.CopiedBytes() + OwnBytes(weights));
}

}  // namespace

void GroupRun::Plan() {
  for (const RunConfig* config : configs_) {
    std::vector<GroupCell> cells = PlanConfig(*config);
    std::move(cells.begin(), cells.end(), std::back_inserter(planned_));
  }
  if (!options_.rerun) {
    std::vector<const RunConfig*> sought;
    std::copy_if(configs_.begin(), configs_.end(), std::back_inserter(sought),
                 [&](const RunConfig* c) { return options_.resume || !c->study.empty(); });
    const FinishedCells finished(options_.out, sought, options_.any_commit);
    MarkFinished(
        finished, options_.resume, [&](const GroupCell& cell) { return Sought(cell); }, planned_);
  }
  const double memory = options_.memory_gb > 0
                            ? options_.memory_gb * 1e9
                            : kMostMemory * static_cast<double>(AvailableMemoryBytes());
  BlasVersion();  // so that OpenBLAS is loaded and among what is used already
  const std::vector<MemoryLimit> limits = MemoryLimits();
  passes_ = SplitIntoPasses(planned_, [&](const Pass& pass) {
    const MemoryNeed need = NeedOf(pass);
    return LoadedBytes(model_->weights) + need.memory <= memory && FitsLimits(need, limits);
  });
  for (const Pass& pass : passes_)
    CheckLimits(NeedOf(pass), limits, "measuring " + pass.front().config->name);
}

MemoryNeed GroupRun::NeedOf(const Pass& pass) const {
  return {
      .memory = EstimateMemory(*model_, windows_.size(), LongestWindow(), Loads(pass), threads_) -
                LoadedBytes(model_->weights) + Fp16CopyBytes(pass),
      .reserved = ReservedBytes(std::min(threads_, windows_.size()))};
}

// A study's other cells need not suffer; of any other config an error is the run's.
void GroupRun::Tolerate(const RunConfig& config, const Error& error, const std::string& label) {
  if (config.study.empty() || CancelRequested()) throw;
  CheckInputs();
  Say("{} {} cannot be measured, the others go on: {}\n", config.name, label, error.what());
  ++failed_cells_;
}

std::vector<GroupCell> GroupRun::PlanConfig(const RunConfig& config) {
  std::vector<GroupCell> cells = {{.config = &config, .label = ReferenceName(model_->weights)}};
  for (const CellConfig& spec : config.cells) {
    if (!options_.Wants(spec.label)) continue;
    try {
      std::vector<GroupCell> own = PlanMethod(config, spec);
      std::move(own.begin(), own.end(), std::back_inserter(cells));
    } catch (const Error& error) {
      Tolerate(config, error, spec.label);
    }
  }
  return cells;
}

// One cell, or one for each seed where the method calibrates and there are several; none where it
// would be the reference under another name.
std::vector<GroupCell> GroupRun::PlanMethod(const RunConfig& config, const CellConfig& spec) {
  GroupCell cell{
      .config = &config, .spec = &spec, .label = spec.label, .method = spec.MakeMethod()};
  cell.plan = PlanModel(spec.quantize, model_->config);
  if (!QuantizesAny(cell.plan)) {
    Say("{}", UnquantizedText(config.name, spec.label));
    return {};
  }
  cell.calibrates = cell.method.Needs(cell.plan).Any();
  const std::vector<size_t>& seeds = config.calibration.seeds;
  std::vector<GroupCell> cells;
  const TestText test{*text_, stream_, windows_};
  for (size_t i = 0; i < (cell.calibrates ? seeds.size() : 1); ++i) {
    if (cell.calibrates || config.calibration.asked)
      cell.calibration = &calibrations_.Draw(config, seeds[i], *model_, test, options_.quiet);
    if (cell.calibrates && !config.calibration.allow_overlap) RefuseContaminated(*cell.calibration);
    if (cell.calibrates && seeds.size() > 1)
      cell.label = fmt::format("{} seed={}", spec.label, seeds[i]);
    cells.push_back(cell);
  }
  return cells;
}

SoughtCell GroupRun::Sought(const GroupCell& cell) const {
  const bool reference = cell.spec == nullptr;
  SoughtCell sought{
      .name = {.config = cell.config->name,
               .method = reference ? cell.label : cell.spec->label,
               .model = model_->name,
               .protocol = protocol_->name,
               .reference = reference},
      .resolved = cell.config->Resolved(),
      .facts = OwnBuildAndMachine(),
      .windows = WindowOrder(windows_.size(), config_.accuracy.order, config_.accuracy.stop)};
  sought.facts.merge(Facts{{"model.sha256", model_->weights.checkpoint->Sha256()},
                           {"model.config_sha256", model_->config.sha256},
                           {"model.tokenizer_sha256", model_->tokenizer.sha256()},
                           {"dataset.sha256", text_->sha256},
                           {"protocol.token_sha256", stream_.sha256}});
  if (cell.calibrates) {
    const CalibrationSet& set = *cell.calibration;
    const size_t samples = SamplesRead(set.data, cell.method.Needs(cell.plan));
    sought.facts["calibration.token_sha256"] = set.TokenSha256(samples);
    if (cell.config->calibration.seeds.size() > 1) sought.name.seed = cell.calibration->seed;
  }
  return sought;
}

std::vector<CellLoad> GroupRun::Loads(const Pass& pass) const {
  std::vector<CellLoad> loads;
  for (const GroupCell& cell : pass) {
    if (cell.spec == nullptr) continue;
    CellLoad load{.plan = cell.plan, .method = &cell.method, .kernels = cell.config->path.kernels};
    load.weight_bytes = PlannedBytes(model_->config, cell.plan, cell.config->path.kernels);
    if (cell.calibration != nullptr) {
      const CalibrationData& data = cell.calibration->data;
      load.needs = cell.method.Needs(cell.plan);
      load.samples = SamplesRead(data, load.needs);
      load.length = cell.calibration->length;
      load.sequential = data.sequential;
    }
    loads.push_back(load);
  }
  return loads;
}

// Of what speeds are ratios to, where the reference is not FP16 (MeasureSpeeds).
double GroupRun::Fp16CopyBytes(const Pass& pass) const {
  const bool timed = std::any_of(pass.begin(), pass.end(), [](const GroupCell& cell) {
    return cell.config->throughput.measure;
  });
  return timed && !IsFp16(model_->weights) ? static_cast<double>(SyntheticBytes(model_->config, {}))
                                           : 0;
}

Cost GroupRun::CostOf(const Pass& pass) {
  if (!rates_) {
    const size_t busy = std::min(threads_, windows_.size());
    rates_.emplace(model_->config, model_->weights, LongestWindow(), busy);
  }
  Cost cost = EstimateCost(*model_, windows_, Loads(pass), config_.accuracy.metrics.Compare(),
                           threads_, *rates_);
  cost.memory_bytes += Fp16CopyBytes(pass);
  for (const double seconds : SpeedSeconds(pass)) cost.throughput_seconds += seconds;
  return cost;
}

// Of each throughput spec that something is timed by, in their order.
std::vector<double> GroupRun::SpeedSeconds(const Pass& pass) const {
  const size_t yardsticks = IsFp16(model_->weights) ? 1 : 2;
  std::vector<ThroughputSpec> told;
  std::vector<double> seconds;
  for (const GroupCell& cell : pass) {
    const ThroughputSpec& spec = cell.config->throughput;
    if (!spec.measure || std::find(told.begin(), told.end(), spec) != told.end()) continue;
    told.push_back(spec);
    const auto models = std::count_if(pass.begin(), pass.end(), [&](const GroupCell& other) {
      return other.spec != nullptr && other.config->throughput == spec;
    });
    seconds.push_back(
        EstimateSpeedCost(model_->config, spec, yardsticks + static_cast<size_t>(models))
            .throughput_seconds);
  }
  return seconds;
}

// What the passes' stages are expected to take, in their order.
void GroupRun::PlanEta() {
  if (options_.quiet) return;
  std::vector<RunEta::Stage> stages;
  size_t cells = 0;
  for (const Pass& pass : passes_) {
    const Cost cost = CostOf(pass);
    for (size_t cell = 1; cell < cost.cells.size(); ++cell)
      stages.push_back({RunEta::Kind::kQuantize, cost.cells[cell].quantize});
    stages.push_back({RunEta::Kind::kMeasure, cost.seconds});
    for (const double seconds : SpeedSeconds(pass))
      stages.push_back({RunEta::Kind::kSpeed, seconds});
    cells += pass.size();
  }
  eta_.Plan(stages, cells);
}

Cost GroupRun::PrintPlan() {
  std::vector<PlanRow> rows;
  for (const GroupCell& cell : planned_) {
    if (cell.finished) rows.push_back({cell.config->name, cell.label, cell.plan, "finished"});
  }
  Cost total;
  if (!passes_.empty()) total.load_seconds = load_seconds_;
  for (size_t p = 0; p < passes_.size(); ++p) {
    const Cost cost = CostOf(passes_[p]);
    AddRows(passes_[p], cost, fmt::format("pass {}", p + 1), rows);
    total.Add(cost);
  }
  ThrowIfCancelled();
  PrintWhole(Wrapped(PlanText(Describe({}), rows, total), LineWidth(STDOUT_FILENO)) +
             FinishedText(planned_, options_.out.string()));
  return total;
}

}  // namespace quantref
