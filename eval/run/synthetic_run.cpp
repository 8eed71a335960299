#include "eval/run/synthetic_run.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "eval/cost/memory_limits.h"
#include "eval/facts/texts.h"
#include "eval/inputs/finished.h"
#include "eval/record/reference.h"
#include "eval/record/stamps.h"
#include "eval/records/record_parts.h"
#include "eval/speed/models.h"
#include "eval/support/interrupt.h"
#include "eval/support/progress_bar.h"
#include "eval/support/say.h"
#include "eval/support/terminal.h"
#include "eval/support/text_table.h"
#include "eval/table/results.h"
#include "harness/base/cancel.h"
#include "harness/base/clock.h"
#include "harness/base/error.h"
#include "harness/kernels/panel_layout.h"
#include "harness/model/kv_cache.h"
#include "harness/model/ops.h"
#include "harness/model/plan_model.h"

namespace quantref {
namespace {

// Of the memory that is free now: with the reference there must be room for everything else that
// the machine does, without it the weights alone must fit.
constexpr double kMostWithReference = 0.8, kMostWithout = 0.95;

// Random weights are made in the kernels' layout, and there is no other path for them.
void CheckKernelsTake(const std::vector<PlannedLinear>& plan, const CellConfig& cell,
                      const RunConfig& config) {
  const std::optional<ActivationFormat> inputs = DynamicFormat(cell.activations);
  for (const PlannedLinear& linear : plan) {
    if (!linear.scheme) continue;
    const bool taken = TiledMatrix::Supports(*linear.scheme, linear.shape.cols);
    if (taken && MultipliesCodes(inputs, 1, FormOf(*linear.scheme))) continue;
    const std::string beside = taken ? " beside outlier channels" : "";
    throw Error(
        fmt::format("no kernel takes {}{} ({}), and a synthetic model is there to time them",
                    SchemeName(*linear.scheme), beside, linear.shape.name),
        config.file, "choose another quantize.weights, or a model with weights");
  }
}

double Gigabytes(double bytes) { return bytes / 1e9; }

}  // namespace

bool IsFinished(const RunOptions& options, const RunConfig& config) {
  if ((config.study.empty() && !options.resume) || options.rerun) return false;
  const FinishedCells finished(options.out, {&config}, options.any_commit);
  std::vector<std::string> methods;
  for (const CellConfig& cell : config.cells) {
    const bool is_cell =
        cell.Changes(PlanModel(cell.quantize, FindSyntheticShape(config.model.name)));
    if (is_cell && options.Wants(cell.label)) methods.push_back(cell.label);
  }
  if (methods.empty()) methods.emplace_back(kFp16Name);
  return std::all_of(methods.begin(), methods.end(), [&](const std::string& method) {
    const SoughtCell cell{.name = {.config = config.name,
                                   .method = method,
                                   .model = config.model.name,
                                   .protocol = "",
                                   .reference = method == kFp16Name},
                          .resolved = config.Resolved(),
                          .facts = OwnBuildAndMachine(),
                          .windows = {}};
    return finished.WhyUnfinished(cell).empty();
  });
}

SyntheticRun::SyntheticRun(const RunOptions& options, const RunConfig& config, size_t threads,
                           RunEta& eta)
    : options_(options),
      config_(config),
      threads_(threads),
      eta_(eta),
      shape_(FindSyntheticShape(config.model.name)) {
  for (const CellConfig& spec : config.cells) {
    if (!options.Wants(spec.label)) continue;
    std::vector<PlannedLinear> plan = PlanModel(spec.quantize, shape_);
    CheckKernelsTake(plan, spec, config);
    CheckActivations(plan, shape_, spec.activations);
    const size_t cached = CachedTokens(config.throughput, shape_.context);
    if (spec.kv_cache && cached > 0) CheckRounds(shape_, *spec.kv_cache, cached, spec.label);
    if (spec.Changes(plan)) {
      cells_.push_back({&spec, std::move(plan)});
    } else {
      Say("{}", UnquantizedText(config.name, spec.label));
    }
  }
  PlanMemory();
}

void SyntheticRun::PlanMemory() {
  // The embedding and the head of the frame are all cells', whatever their plans.
  const size_t ends = 2 * (shape_.tied_head ? 1 : 2) * shape_.vocab * shape_.hidden;
  bytes_ = ends;
  for (const Cell& cell : cells_) {
    for (const PlannedLinear& linear : cell.plan) {
      const bool of_frame = linear.shape.name == kEmbeddingName || linear.shape.name == kHeadName;
      if (linear.scheme || !of_frame) bytes_ += SyntheticBytes(shape_, {linear});
    }
    bytes_ += OutlierWeightBytes(cell.plan, cell.spec->activations);
  }
  for (const Cell& cell : cells_)
    bytes_ += DecoderBytes(shape_, config_.throughput, cell.spec->kv_cache);
  const double free = std::min(static_cast<double>(AvailableMemoryBytes()), RoomWithinLimits());
  const size_t reference =
      SyntheticBytes(shape_, {}) - ends + DecoderBytes(shape_, config_.throughput);
  if (static_cast<double>(bytes_ + reference) <= kMostWithReference * free) {
    bytes_ += reference;
    return;
  }
  left_out_ = fmt::format(
      "the FP16 reference needs {:.1f} GB beside the cells' {:.1f} GB; {:.1f} GB are free",
      Gigabytes(static_cast<double>(reference)), Gigabytes(static_cast<double>(bytes_)),
      Gigabytes(free));
  if (!cells_.empty() && static_cast<double>(bytes_) <= kMostWithout * free) return;
  throw Error(
      fmt::format("the weights and caches of {} need {:.1f} GB; {:.1f} GB are free",
                  config_.model.name,
                  Gigabytes(static_cast<double>(cells_.empty() ? bytes_ + reference : bytes_)),
                  Gigabytes(free)),
      config_.file, "fewer cells at a time (--methods), fewer bits, or a smaller model");
}

Cost SyntheticRun::ExpectedCost() const {
  std::set<std::string> formats;
  for (const Cell& cell : cells_) AddFormats(cell.plan, cell.spec->activations, formats);
  const size_t models = cells_.size() + (left_out_.empty() ? 1 : 0);
  return EstimateSpeedCost(shape_, config_.throughput, models, formats.size());
}

Cost SyntheticRun::PrintPlan() const {
  std::vector<std::vector<std::string>> rows;
  if (left_out_.empty()) rows.push_back({config_.name, kFp16Name, "-"});
  for (const Cell& cell : cells_) {
    const auto quantized = std::count_if(cell.plan.begin(), cell.plan.end(),
                                         [](const auto& linear) { return linear.scheme; });
    rows.push_back(
        {config_.name, cell.spec->label, fmt::format("{} of {}", quantized, cell.plan.size())});
  }
  Cost cost = ExpectedCost();
  cost.memory_bytes += static_cast<double>(bytes_);
  PrintWhole(fmt::format(
      "\n{} · {}\n{}{}{}\nexpected: about {} to measure, {:.1f} GB of memory of {:.1f} free\n",
      config_.model.name, kSyntheticStamp,
      RenderTable({"config", "cell", "quantized matrices"}, rows, 2), left_out_,
      left_out_.empty() ? "" : "\n", FormatDuration(cost.throughput_seconds),
      Gigabytes(cost.memory_bytes), Gigabytes(static_cast<double>(AvailableMemoryBytes()))));
  return cost;
}

void SyntheticRun::MakeWeights() {
  const Clock::time_point start = Clock::now();
  ProgressBar bar("random weights of " + config_.model.name, options_.quiet);
  const size_t total = cells_.size() + 1;
  frame_ = MakeSyntheticFrame(shape_, config_.model.seed, threads_);
  if (left_out_.empty())
    reference_ = MakeSyntheticReference(shape_, frame_, config_.model.seed, threads_);
  bar.Update(1, total);
  for (size_t i = 0; i < cells_.size(); ++i) {
    cells_[i].made = MakeSynthetic(shape_, frame_, cells_[i].plan, cells_[i].spec->activations,
                                   config_.model.seed, threads_);
    cells_[i].made.weights.kv_cache = cells_[i].spec->kv_cache;
    bar.Update(i + 2, total);
  }
  make_seconds_ = Since(start);
}

std::vector<CellResult> SyntheticRun::Measure() {
  const bool with_reference = left_out_.empty();
  std::vector<CellResult> results;
  std::vector<SpeedCell> timed;
  if (with_reference) {
    results.push_back({.config = &config_, .spec = nullptr, .label = kFp16Name, .model = 0});
    results.back().bits = MeasureBits(reference_.weights);
    timed.push_back({kFp16Name, nullptr, &config_.throughput});
  }
  for (const Cell& cell : cells_) {
    const std::string& label = cell.spec->label;
    results.push_back(
        {.config = &config_, .spec = cell.spec, .label = label, .model = results.size()});
    results.back().bits = MeasureBits(cell.made.weights);
    for (const PlannedLinear& linear : cell.plan)
      results.back().kernel_linears += linear.scheme.has_value();
    if (cell.spec->kv_cache) {
      const size_t cached = CachedTokens(config_.throughput, shape_.context);
      results.back().kv_cache = DescribeKvCache(shape_, cached, *cell.spec->kv_cache);
    }
    timed.push_back(
        {fmt::format("{} {}", config_.name, label), &cell.made.weights, &config_.throughput});
  }
  const Clock::time_point start = Clock::now();
  const auto speeds = MeasureSpeeds(shape_, with_reference ? &reference_.weights : nullptr, timed,
                                    threads_, options_.quiet, eta_);
  throughput_seconds_ = Since(start);
  for (size_t i = 0; i < results.size(); ++i) results[i].speed = speeds[i];
  return results;
}

Record SyntheticRun::MakeRecord(const CellResult& cell, const Environment& environment) const {
  RecordJson record = BeginRecord(config_);
  record["stamp"] = kSyntheticStamp;
  record["model"] = {{"name", config_.model.name},
                     {"synthetic", true},
                     {"seed", config_.model.seed},
                     {"parameters", shape_.Parameters()}};
  PutMethod(record, cell);
  PutSpeed(record, *cell.speed, environment);
  if (!left_out_.empty()) record["throughput"]["reference_left_out"] = left_out_;
  PutEnvironment(record, environment);
  record["seconds"] = {{"load", make_seconds_}, {"throughput", throughput_seconds_}};
  PutMemory(record);
  return FinishRecord(std::move(record));
}

void SyntheticRun::PrintTable(const std::vector<Record>& records) const {
  if (options_.quiet || options_.json) return;
  PrintWhole(ResultText(ResultsOf(records), {LineWidth(STDOUT_FILENO), options_.columns}));
}

std::vector<Record> SyntheticRun::Run() {
  const size_t models = cells_.size() + (left_out_.empty() ? 1 : 0);
  if (!options_.quiet) {
    eta_.Plan({{RunEta::Kind::kSpeed, ExpectedCost().throughput_seconds}}, models);
  }
  const InterruptNote note("nothing of this model is kept: speeds are measured in one go");
  MakeWeights();
  const std::vector<CellResult> cells = Measure();
  const Environment environment = DescribeEnvironment(threads_);
  std::vector<Record> records;
  for (const CellResult& cell : cells) records.push_back(MakeRecord(cell, environment));
  KeepRecords(records, options_.out, options_.quiet);
  PrintTable(records);
  return records;
}

}  // namespace quantref
