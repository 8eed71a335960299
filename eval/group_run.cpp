#include "eval/group_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>

#include "eval/cost.h"
#include "eval/interrupt.h"
#include "eval/progress_bar.h"
#include "eval/resources.h"
#include "eval/summary.h"
#include "harness/base/sha256.h"
#include "harness/io/file.h"
#include "harness/kernels/gemm.h"
#include "harness/kernels/isa.h"
#include "quantizers/registry.h"

namespace quantref {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kMaxProgram = size_t{1} << 30;

double Since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

Text LoadGroupText(const RunConfig& config, bool quiet) {
  DatasetOptions options = DatasetOptions::FromEnvironment();
  ProgressBar bar("downloading " + config.accuracy.dataset, quiet);
  options.sample_when_offline = config.sample_when_offline;
  options.sample_dir = SampleDir();
  options.progress = [&](size_t done, size_t total) { bar.Update(done, total); };
  options.cancelled = InterruptRequested;
  return LoadText(config.accuracy.dataset, config.accuracy.split, options);
}

}  // namespace

std::string GroupRun::Cell::method() const {
  return rounder == nullptr ? "fp16" : std::string(rounder->name());
}

GroupRun::GroupRun(const RunOptions& options, std::vector<const RunConfig*> configs, size_t threads)
    : options_(options),
      configs_(std::move(configs)),
      threads_(threads),
      config_(*configs_.front()) {}

void GroupRun::Prepare() {
  const Clock::time_point start = Clock::now();
  text_ = LoadGroupText(config_, options_.quiet);
  if (text_->substituted_sample && !options_.quiet) {
    fmt::print(stderr, "{}", SampleWarning(*text_));
  }
  model_ = LoadModel(config_.model, FindModel(config_.model), config_.weight_type, threads_);
  protocol_ = &FindProtocol(config_.accuracy.protocol);
  stream_ = Tokenize(*protocol_, text_->bytes, model_->tokenizer, model_->bos_id);
  windows_ = MakeWindows(*protocol_, stream_.ids.size(), model_->config.context);
  all_windows_ = windows_.size();
  if (options_.windows > 0 && options_.windows < windows_.size()) windows_.resize(options_.windows);
  for (const RunConfig* config : configs_) PlanCells(*config);
  load_seconds_ = Since(start);
}

bool GroupRun::Wanted(std::string_view method) const {
  const std::vector<std::string>& methods = options_.methods;
  return methods.empty() || std::find(methods.begin(), methods.end(), method) != methods.end();
}

void GroupRun::PlanCells(const RunConfig& config) {
  const auto add = [&](const Rounder* rounder, std::vector<PlannedLinear> plan) {
    size_t model = 0;
    if (rounder != nullptr) {
      model = 1;
      for (const Cell& cell : cells_) model += cell.rounder != nullptr;
    }
    cells_.push_back({&config, rounder, std::move(plan), model, {}});
  };
  add(nullptr, {});
  for (const std::string& method : config.methods) {
    if (Wanted(method)) add(FindRounder(method), PlanFor(config.quantize, model_->weights));
  }
}

void GroupRun::PrintPlan() const {
  std::vector<PlanRow> rows;
  size_t models = 1;
  for (const Cell& cell : cells_) {
    rows.push_back({cell.config->name, cell.method(), cell.plan});
    models = std::max(models, cell.model + 1);
  }
  fmt::print("{}", PlanText(Describe({}), rows,
                            EstimateCost(*model_, windows_, LongestWindow(), models, threads_)));
}

std::vector<Record> GroupRun::Run() {
  for (Cell& cell : cells_) Quantize(cell);
  const GroupResult group = Describe(MeasureCells());
  const std::vector<CellResult> cells = Summarize(group);
  std::vector<Record> records;
  for (const CellResult& cell : cells) {
    records.push_back(MakeRecord(group, cell));
    const std::filesystem::path path = WriteRecord(records.back(), options_.out);
    if (!options_.quiet) fmt::print(stderr, "record: {}\n", path.string());
  }
  std::filesystem::remove(group.measurement.journal);  // all of it is recorded now
  if (!options_.quiet && !options_.json) fmt::print("{}", ResultText(group, cells));
  return records;
}

void GroupRun::Quantize(Cell& cell) const {
  cell.quantized.weights = model_->weights;
  if (cell.rounder == nullptr) return;
  const Clock::time_point start = Clock::now();
  ProgressBar bar(fmt::format("quantizing {} {}", cell.config->name, cell.method()),
                  options_.quiet);
  cell.quantized = QuantizeModel(model_->weights, cell.plan, *cell.rounder, threads_,
                                 [&](size_t done, size_t total) {
                                   ThrowIfInterrupted();
                                   bar.Update(done, total);
                                 });
  cell.quantize_seconds = Since(start);
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
      model_->weights.checkpoint->Sha256(), config_.weight_type == WeightType::kFp16,
      model_->tokenizer.sha256(), protocol_->name, stream_.sha256, windows_.size(),
      IsaName(ActiveIsa()), BlasVersion(), BlasCoreType(), config_.accuracy.Compares());
  if (config_.accuracy.stop) {
    text += fmt::format("stop {} {} {}\n", config_.accuracy.stop->delta_nll_halfwidth,
                        config_.accuracy.stop->min_windows, config_.accuracy.stop->seed);
  }
  for (const Cell& cell : cells_) {
    if (cell.rounder != nullptr) text += HashPacked(cell.quantized.weights) + "\n";
  }
  return Sha256Hex(text);
}

Measurement GroupRun::MeasureCells() const {
  std::vector<Transformer> models;
  models.emplace_back(model_->config, model_->weights, LongestWindow());
  for (const Cell& cell : cells_) {
    if (cell.rounder == nullptr) continue;
    models.emplace_back(model_->config, cell.quantized.weights, LongestWindow());
  }
  std::vector<const Transformer*> pointers;
  for (const Transformer& model : models) pointers.push_back(&model);

  ProgressBar bar(fmt::format("{}, {}", config_.model, protocol_->name), options_.quiet);
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

GroupResult GroupRun::Describe(Measurement measurement) const {
  return {.model = &*model_,
          .text = &*text_,
          .protocol = protocol_,
          .stream = &stream_,
          .windows = windows_,
          .all_windows = all_windows_,
          .measurement = std::move(measurement),
          .environment = DescribeEnvironment(threads_),
          .load_seconds = load_seconds_};
}

std::vector<CellResult> GroupRun::Summarize(const GroupResult& group) const {
  const ScoreTable& scores = group.measurement.scores;
  const auto measured = [&](const Cell& cell) { return Measured(scores[cell.model], windows_); };
  const MeasuredWindows reference = Measured(scores[0], windows_);
  std::vector<CellResult> results;
  for (const Cell& cell : cells_) {
    if (!Wanted(cell.method())) continue;  // the reference was needed all the same
    CellResult result{.config = cell.config, .method = cell.method(), .model = cell.model};
    result.bits = MeasureBits(cell.quantized.weights);
    result.perplexity = SummarizePerplexity(measured(cell), stream_);
    result.evaluate_seconds = group.measurement.seconds[cell.model] /
                              static_cast<double>(std::min(threads_, windows_.size()));
    if (cell.rounder != nullptr) {
      result.layers = cell.quantized.layers;
      result.packed_sha256 = HashPacked(cell.quantized.weights);
      result.reference = SummarizePerplexity(reference, stream_);
      result.comparison = SummarizeComparison(measured(cell), reference);
      result.quantize_seconds = cell.quantize_seconds;
      for (const Cell& other : cells_) {
        if (other.rounder == nullptr || &other == &cell) continue;
        const std::optional<Interval> difference =
            PairedDifference(measured(cell), measured(other));
        if (difference) result.against.push_back({other.config->name, other.method(), *difference});
      }
    }
    results.push_back(std::move(result));
  }
  return results;
}

}  // namespace quantref
