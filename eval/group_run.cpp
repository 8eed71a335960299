#include "eval/group_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>

#include "eval/cost.h"
#include "eval/interrupt.h"
#include "eval/progress_bar.h"
#include "eval/report_speed.h"
#include "eval/resources.h"
#include "eval/summary.h"
#include "harness/base/parallel.h"
#include "harness/base/sha256.h"
#include "harness/io/file.h"
#include "harness/kernels/gemm.h"
#include "harness/kernels/isa.h"
#include "harness/outliers.h"

namespace quantref {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kMaxProgram = size_t{1} << 30;

double Since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

Text LoadRunText(const std::string& dataset, const std::string& split, const RunConfig& config,
                 bool quiet) {
  DatasetOptions options = DatasetOptions::FromEnvironment();
  ProgressBar bar("downloading " + dataset, quiet);
  options.sample_when_offline = config.sample_when_offline;
  options.sample_dir = SampleDir();
  options.progress = [&](size_t done, size_t total) { bar.Update(done, total); };
  options.cancelled = InterruptRequested;
  Text text = LoadText(dataset, split, options);
  if (text.substituted_sample && !quiet) fmt::print(stderr, "{}", SampleWarning(text));
  return text;
}

Model LoadRunModel(const RunConfig::ModelChoice& choice, size_t threads) {
  Model model = LoadModel(choice.name, FindModel(choice.name), choice.weight_type, threads);
  if (choice.outliers) AddOutliers(model.config, *choice.outliers, model.weights);
  return model;
}

// Of the things that calibration samples depend on; `asked` decides only whether they are drawn.
bool SameText(const RunConfig::Calibration& a, const RunConfig::Calibration& b) {
  return a.dataset == b.dataset && a.split == b.split && a.samples == b.samples &&
         a.length == b.length && a.sequential == b.sequential && a.allow_overlap == b.allow_overlap;
}

}  // namespace

GroupRun::GroupRun(const RunOptions& options, std::vector<const RunConfig*> configs, size_t threads)
    : options_(options),
      configs_(std::move(configs)),
      threads_(threads),
      config_(*configs_.front()) {}

void GroupRun::Prepare() {
  const Clock::time_point start = Clock::now();
  text_ = LoadRunText(config_.accuracy.dataset, config_.accuracy.split, config_, options_.quiet);
  model_ = LoadRunModel(config_.model, threads_);
  protocol_ = &FindProtocol(config_.accuracy.protocol);
  stream_ = Tokenize(*protocol_, text_->bytes, model_->tokenizer, model_->bos_id);
  windows_ = MakeWindows(*protocol_, stream_.ids.size(), model_->config.context);
  all_windows_ = windows_.size();
  if (options_.windows > 0 && options_.windows < windows_.size()) windows_.resize(options_.windows);
  for (const RunConfig* config : configs_) PlanCells(*config);
  load_seconds_ = Since(start);
}

bool GroupRun::Wanted(const Cell& cell) const {
  const std::vector<std::string>& methods = options_.methods;
  const std::string name = cell.spec == nullptr ? "fp16" : cell.spec->label;
  return methods.empty() || std::find(methods.begin(), methods.end(), name) != methods.end();
}

void GroupRun::PlanCells(const RunConfig& config) {
  cells_.push_back({.config = &config});
  for (const CellConfig& spec : config.cells) AddCells(config, spec);
}

// One cell, or one for each seed where the method calibrates and there are several.
void GroupRun::AddCells(const RunConfig& config, const CellConfig& spec) {
  Cell cell{.config = &config, .spec = &spec, .label = spec.label, .method = spec.MakeMethod()};
  if (!Wanted(cell)) return;
  cell.plan = PlanFor(spec.quantize, model_->weights);
  const bool needs_data = cell.method.Needs(cell.plan).Any();
  const std::vector<size_t>& seeds = config.calibration.seeds;
  for (size_t i = 0; i < (needs_data ? seeds.size() : 1); ++i) {
    if (needs_data || config.calibration.asked) cell.calibration = &Calibrate(config, seeds[i]);
    if (needs_data && seeds.size() > 1)
      cell.label = fmt::format("{} seed={}", spec.label, seeds[i]);
    cell.model = 1;
    for (const Cell& other : cells_) cell.model += other.spec != nullptr;
    cells_.push_back(cell);
  }
}

const CalibrationSet& GroupRun::Calibrate(const RunConfig& config, size_t seed) {
  for (const Drawn& drawn : calibrations_) {
    if (drawn.seed == seed && SameText(drawn.asked, config.calibration)) return drawn.set;
  }
  const Text text =
      LoadRunText(config.calibration.dataset, config.calibration.split, config, options_.quiet);
  calibrations_.push_back({config.calibration, seed,
                           DrawCalibration(config.calibration, seed, text, *model_, stream_)});
  return calibrations_.back().set;
}

void GroupRun::PrintPlan() const {
  std::vector<PlanRow> rows;
  std::vector<CalibrationLoad> loads;
  for (const Cell& cell : cells_) {
    rows.push_back({cell.config->name, cell.label, cell.plan});
    if (cell.spec == nullptr) continue;
    loads.emplace_back();
    if (cell.calibration == nullptr) continue;
    const CalibrationData& data = cell.calibration->data;
    const DataNeeds needs = cell.method.Needs(cell.plan);
    loads.back() = {SamplesRead(data, needs), cell.calibration->length, needs, data.sequential};
  }
  Cost cost = EstimateCost(*model_, windows_, LongestWindow(), loads, threads_);
  std::vector<const ThroughputSpec*> told;
  for (const RunConfig* config : configs_) {
    const ThroughputSpec& spec = config->throughput;
    const auto same = [&](const auto& other) { return *other == spec; };
    if (std::any_of(told.begin(), told.end(), same)) continue;
    told.push_back(&spec);
    const auto models = std::count_if(cells_.begin(), cells_.end(), [&](const Cell& cell) {
      return cell.spec != nullptr && cell.config->throughput == spec;
    });
    cost.throughput_seconds +=
        EstimateSpeedCost(model_->config, spec, 1 + static_cast<size_t>(models)).throughput_seconds;
  }
  fmt::print("{}", PlanText(Describe({}), rows, cost));
}

std::vector<Record> GroupRun::Run() {
  for (Cell& cell : cells_) {
    Quantize(cell);
    PutOnKernels(cell);
  }
  Measurement measurement = MeasureCells();
  MeasureGaps(measurement.first_window);
  MeasureSpeed();
  const GroupResult group = Describe(std::move(measurement));
  const std::vector<CellResult> cells = Summarize(group);
  std::vector<Record> records;
  for (const CellResult& cell : cells) {
    records.push_back(MakeRecord(group, cell));
    const std::filesystem::path path = WriteRecord(records.back(), options_.out);
    if (!options_.quiet) fmt::print(stderr, "record: {}\n", path.string());
  }
  std::filesystem::remove(group.measurement.journal);  // all of it is recorded now
  if (!options_.quiet && !options_.json) {
    if (options_.layers) fmt::print("{}", LayersText(cells));
    fmt::print("{}", ResultText(group, cells));
  }
  CheckGaps(cells);
  return records;
}

void GroupRun::Quantize(Cell& cell) const {
  cell.quantized.weights = model_->weights;
  if (cell.spec == nullptr) return;
  const Clock::time_point start = Clock::now();
  ProgressBar bar(fmt::format("quantizing {} {}", cell.config->name, cell.label), options_.quiet);
  QuantizeOptions quantize;
  quantize.threads = threads_;
  quantize.progress = [&](size_t done, size_t total, std::string_view what) {
    ThrowIfInterrupted();
    bar.Update(done, total, what);
  };
  cell.quantized =
      QuantizeModel(model_->config, model_->weights, cell.plan, cell.method,
                    cell.calibration == nullptr ? nullptr : &cell.calibration->data, quantize);
  cell.quantize_seconds = Since(start);
}

void GroupRun::PutOnKernels(Cell& cell) const {
  if (cell.spec != nullptr && cell.config->path.kernels)
    cell.path = OnKernels(cell.quantized.weights, threads_);
}

size_t GroupRun::LongestWindow() const {
  size_t longest = 0;
  for (const Window& window : windows_) longest = std::max(longest, window.length);
  return longest;
}

// Whatever the scores depend on, the program itself included: a commit does not tell two builds of
// a changed tree apart. The thread count is not among it.
std::string GroupRun::Fingerprint() const {
  std::string text = fmt::format(
      "{}\n{} {} {}\n{} {} {}\n{} {} {} {}\n", Sha256Hex(ReadFile("/proc/self/exe", kMaxProgram)),
      model_->weights.checkpoint->Sha256(), config_.model.weight_type == WeightType::kFp16,
      model_->tokenizer.sha256(), protocol_->name, stream_.sha256, windows_.size(),
      IsaName(ActiveIsa()), BlasVersion(), BlasCoreType(), config_.accuracy.Compares());
  if (config_.accuracy.stop) {
    text += fmt::format("stop {} {} {}\n", config_.accuracy.stop->delta_nll_halfwidth,
                        config_.accuracy.stop->min_windows, config_.accuracy.stop->seed);
  }
  // The reference too: outliers change it.
  for (const Cell& cell : cells_) {
    text += fmt::format("{} {}\n", HashQuantized(cell.quantized.weights),
                        cell.path.UsesKernels() ? "kernel" : "simulated");
  }
  return Sha256Hex(text);
}

Measurement GroupRun::MeasureCells() const {
  std::vector<Transformer> models;
  models.emplace_back(model_->config, model_->weights, LongestWindow());
  for (const Cell& cell : cells_) {
    if (cell.spec == nullptr) continue;
    models.emplace_back(model_->config, cell.Measured(), LongestWindow());
  }
  std::vector<const Transformer*> pointers;
  for (const Transformer& model : models) pointers.push_back(&model);

  ProgressBar bar(fmt::format("{}, {}", config_.model.name, protocol_->name), options_.quiet);
  MeasureOptions measure;
  measure.threads = threads_;
  measure.compare = config_.accuracy.Compares();
  measure.stop = config_.accuracy.stop;
  measure.fingerprint = Fingerprint();
  measure.journal =
      options_.out / fmt::format(".journal-{}.tmp", measure.fingerprint.substr(0, 16));
  measure.resume = options_.resume;
  measure.progress = [&](size_t done, size_t total) {
    ThrowIfInterrupted();
    bar.Update(done, total);
  };
  if (options_.resume && !options_.quiet && !std::filesystem::exists(measure.journal)) {
    fmt::print(stderr, "no interrupted run of this is in {}: beginning anew\n",
               options_.out.string());
  }
  return Measure(pointers, *protocol_, stream_, windows_, measure);
}

void GroupRun::MeasureGaps(size_t window) {
  ParallelFor(cells_.size(), threads_, [&](size_t i, size_t) {
    Cell& cell = cells_[i];
    if (!cell.path.UsesKernels()) return;
    ThrowIfInterrupted();
    const Transformer simulated(model_->config, cell.quantized.weights, LongestWindow());
    const Transformer kernel(model_->config, cell.path.weights, LongestWindow());
    cell.gap = MeasureGap(simulated, kernel, *protocol_, stream_, windows_, window);
  });
}

void GroupRun::MeasureSpeed() {
  const Clock::time_point start = Clock::now();
  std::vector<SpeedCell> timed;
  for (const Cell& cell : cells_) {
    timed.push_back({fmt::format("{} {}", cell.config->name, cell.label),
                     cell.spec == nullptr ? nullptr : &cell.Measured(), &cell.config->throughput});
  }
  const auto speeds = MeasureSpeeds(model_->config, &model_->weights, timed, options_.quiet);
  for (size_t i = 0; i < cells_.size(); ++i) cells_[i].speed = speeds[i];
  throughput_seconds_ = Since(start);
}

// A gate, not an error: the records show what was found.
void GroupRun::CheckGaps(const std::vector<CellResult>& cells) {
  for (const CellResult& cell : cells) {
    if (!cell.GapTooWide()) continue;
    gate_failed_ = true;
    fmt::print(stderr, "{}", GapMessage(cell));
  }
}

GroupResult GroupRun::Describe(Measurement measurement) const {
  return {.model = &*model_,
          .outliers = config_.model.outliers,
          .text = &*text_,
          .protocol = protocol_,
          .stream = &stream_,
          .windows = windows_,
          .all_windows = all_windows_,
          .measurement = std::move(measurement),
          .environment = DescribeEnvironment(threads_),
          .load_seconds = load_seconds_,
          .throughput_seconds = throughput_seconds_};
}

void GroupRun::Compare(const GroupResult& group, const Cell& cell, CellResult& result) const {
  const ScoreTable& scores = group.measurement.scores;
  const auto measured = [&](size_t model) { return Measured(scores[model], windows_); };
  const MeasuredWindows own = measured(cell.model), reference = measured(0);
  result.reference = SummarizePerplexity(reference, stream_);
  result.comparison = SummarizeComparison(own, reference);
  for (const Cell& other : cells_) {
    if (other.spec == nullptr || &other == &cell) continue;
    const MeasuredWindows of_other = measured(other.model);
    const std::optional<Interval> difference = PairedDifference(own, of_other);
    if (difference) result.against.push_back({other.config->name, other.label, *difference});
    if (other.config == cell.config && other.spec == cell.spec) {
      result.other_seeds.push_back(
          {other.calibration->seed, SummarizePerplexity(of_other, stream_).nll.mean});
    }
  }
}

std::vector<CellResult> GroupRun::Summarize(const GroupResult& group) const {
  const ScoreTable& scores = group.measurement.scores;
  std::vector<CellResult> results;
  for (const Cell& cell : cells_) {
    if (!Wanted(cell)) continue;  // the reference was needed all the same
    CellResult result{
        .config = cell.config, .spec = cell.spec, .label = cell.label, .model = cell.model};
    result.bits = MeasureBits(cell.quantized.weights);
    result.perplexity = SummarizePerplexity(Measured(scores[cell.model], windows_), stream_);
    result.evaluate_seconds = group.measurement.seconds[cell.model] /
                              static_cast<double>(std::min(threads_, windows_.size()));
    result.speed = cell.speed;
    if (cell.spec != nullptr) {
      result.kernel_linears = cell.path.linears - cell.path.simulated.size();
      result.simulated_linears = cell.path.simulated;
      result.gap = cell.gap;
      result.limits.linear_error = cell.config->path.max_linear_gap;
      if (!cell.spec->activations) result.limits.kl_mean = cell.config->path.max_gap;
      result.layers = cell.quantized.layers;
      result.packed_sha256 = HashQuantized(cell.quantized.weights);
      result.calibration = cell.calibration;
      result.calibrates = cell.method.Needs(cell.plan).Any();
      result.stages = cell.quantized.seconds;
      result.quantize_seconds = cell.quantize_seconds;
      Compare(group, cell, result);
    }
    results.push_back(std::move(result));
  }
  return results;
}

}  // namespace quantref
