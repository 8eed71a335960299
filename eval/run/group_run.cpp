#include "eval/run/group_run.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <optional>

#include "eval/accuracy/reference_name.h"
#include "eval/accuracy/summary.h"
#include "eval/record/reference.h"
#include "eval/run/environment.h"
#include "eval/run/texts.h"
#include "eval/support/interrupt.h"
#include "eval/support/progress_bar.h"
#include "eval/support/say.h"
#include "eval/support/terminal.h"
#include "eval/table/results.h"
#include "harness/base/cancel.h"
#include "harness/base/clock.h"
#include "harness/base/parallel.h"
#include "harness/base/sha256.h"
#include "harness/kernels/gemm.h"
#include "harness/kernels/isa.h"

namespace quantref {
namespace {

const char* QuantizingNote(bool resumed) {
  return resumed ? "quantizing is not kept; windows of the run before still are, for --resume"
                 : "nothing of this is kept: no window is measured yet";
}

}  // namespace

GroupRun::GroupRun(const RunOptions& options, std::vector<const RunConfig*> configs, size_t threads,
                   ModelLoader& models, RunEta& eta)
    : options_(options),
      configs_(std::move(configs)),
      threads_(threads),
      config_(*configs_.front()),
      models_(models),
      eta_(eta) {}

void GroupRun::Prepare() {
  const Clock::time_point start = Clock::now();
  text_ = LoadRunText(config_.accuracy.dataset, config_.accuracy.split, config_, options_.quiet);
  model_ = models_.Load(config_.model);
  protocol_ = FitToContext(config_.accuracy.ChosenProtocol(), model_->config.context);
  stream_ = Tokenize(*protocol_, text_->bytes, model_->tokenizer,
                     ChooseBos(*model_, config_.accuracy.bos));
  windows_ = MakeWindows(*protocol_, stream_.ids.size(), model_->config.context);
  all_windows_ = windows_.size();
  if (options_.windows > 0 && options_.windows < windows_.size()) windows_.resize(options_.windows);
  Plan();
  load_seconds_ = Since(start);
}

std::vector<Record> GroupRun::Run() {
  if (!options_.quiet) SayText(FinishedText(planned_, options_.out.string()));
  PlanEta();
  std::vector<Record> records;
  for (Pass& pass : passes_) {
    cells_ = std::move(pass);
    std::vector<Record> made = RunPass();
    std::move(made.begin(), made.end(), std::back_inserter(records));
    cells_.clear();  // the memory is the next pass's
  }
  return records;
}

std::vector<Record> GroupRun::RunPass() {
  try {
    return MeasurePass();
  } catch (const Error&) {
    // A file that changed is why, whatever came of it.
    if (!CancelRequested()) CheckInputs();
    throw;
  }
}

// Throws InputChanged where a file that was read does not hold any more what the record would say.
void GroupRun::CheckInputs() const {
  text_->file.CheckUnchanged();
  CheckUnchanged(calibrations_.files());
  CheckUnchanged(model_->files());
}

std::vector<Record> GroupRun::MeasurePass() {
  {
    const InterruptNote note(QuantizingNote(options_.resume));
    QuantizeCells();
  }
  const auto recorded = [](const GroupCell& cell) { return cell.Recorded(); };
  if (std::none_of(cells_.begin(), cells_.end(), recorded)) return {};  // none could be made
  const InterruptNote note("finished windows are kept: go on with --resume");
  Measurement measurement = MeasureCells();
  MeasureGaps(measurement.first_window);
  MeasureSpeed();
  const GroupResult group = Describe(std::move(measurement));
  const std::vector<CellResult> cells = Summarize(group);
  CheckInputs();
  std::vector<Record> all;
  for (const CellResult& cell : cells) all.push_back(MakeRecord(group, cell));
  const std::vector<Record> records = Unrecorded(all);
  KeepRecords(records, options_.out, options_.quiet);
  group.measurement.journal->Remove();
  PrintTables(all);
  CheckGaps(cells);
  return records;
}

// What an interrupted run has recorded already stays as it is. All are of the cells that are
// recorded, in their order.
std::vector<Record> GroupRun::Unrecorded(const std::vector<Record>& all) const {
  std::vector<Record> records;
  auto record = all.begin();
  for (const GroupCell& cell : cells_) {
    if (!cell.Recorded()) continue;
    if (!cell.Stands()) records.push_back(*record);
    ++record;
  }
  return records;
}

void GroupRun::PrintTables(const std::vector<Record>& records) const {
  if (options_.quiet || options_.json) return;
  const TableView view{LineWidth(STDOUT_FILENO), options_.columns};
  const Results results = ResultsOf(records);
  if (options_.layers) PrintWhole(LayersText(results, view));
  PrintWhole(ResultText(results, view));
}

void GroupRun::QuantizeCells() {
  size_t rows = 1;  // behind the reference's
  for (auto cell = cells_.begin(); cell != cells_.end();) {
    try {
      Quantize(*cell);
      if (cell->spec != nullptr) cell->model = rows++;
      ++cell;
    } catch (const Error& error) {
      Tolerate(*cell->config, error, cell->label);
      cell = cells_.erase(cell);
    }
  }
}

void GroupRun::Quantize(GroupCell& cell) const {
  cell.quantized.weights = model_->weights;
  if (cell.spec == nullptr) return;
  const Clock::time_point start = Clock::now();
  ProgressBar bar(fmt::format("quantizing {} {}", cell.config->name, cell.label), options_.quiet,
                  eta_, RunEta::Kind::kQuantize);
  QuantizeOptions quantize;
  quantize.threads = threads_;
  const bool kernels = cell.config->path.kernels;
  quantize.products = kernels ? Products::kKernel : Products::kSimulated;
  quantize.progress = [&](size_t done, size_t total, std::string_view what) {
    ThrowIfCancelled();
    CheckInputs();
    bar.Update(done, total, what);
  };
  cell.quantized =
      QuantizeModel(model_->config, model_->weights, cell.plan, cell.method,
                    cell.calibration == nullptr ? nullptr : &cell.calibration->data, quantize);
  cell.quantize_seconds = Since(start);
  if (kernels) cell.path = PathOf(cell.quantized.weights);
}

size_t GroupRun::LongestWindow() const {
  size_t longest = 0;
  for (const Window& window : windows_) longest = std::max(longest, window.length);
  return longest;
}

// Whatever the scores depend on, the program itself included: of configs all but what is known not
// to matter. The thread count is not among it, nor how many windows were asked for: a journal's are
// good for more and for fewer.
std::string GroupRun::Fingerprint() const {
  std::string text = fmt::format("{}\n{} {} {}\n{} {}\n{} {} {}\n", ProgramSha256(),
                                 model_->weights.checkpoint->Sha256(), model_->config.sha256,
                                 model_->tokenizer.sha256(), stream_.sha256, all_windows_,
                                 IsaName(ActiveIsa()), BlasVersion(), BlasCoreType());
  for (const RunConfig* config : configs_) text += config->ResolvedForScores() + "\n";
  // The reference too: outliers change it.
  for (const GroupCell& cell : cells_) {
    text += fmt::format("{} {}\n", HashQuantized(cell.quantized.weights),
                        cell.path.UsesKernels() ? "kernel" : "simulated");
  }
  return Sha256Hex(text);
}

Measurement GroupRun::MeasureCells() const {
  std::vector<Transformer> models;
  std::vector<std::string> names = {ReferenceName(model_->weights)};
  models.emplace_back(model_->config, model_->weights, LongestWindow());
  for (const GroupCell& cell : cells_) {
    if (cell.spec == nullptr) continue;
    models.emplace_back(model_->config, cell.quantized.weights, LongestWindow());
    names.push_back(configs_.size() == 1 ? cell.label
                                         : fmt::format("{} {}", cell.config->name, cell.label));
  }
  const std::vector<TransformerSubject> subjects(models.begin(), models.end());
  std::vector<const Subject*> pointers;
  for (const TransformerSubject& subject : subjects) pointers.push_back(&subject);

  ProgressBar bar(fmt::format("{}, {}", model_->name, protocol_->name), options_.quiet, eta_,
                  RunEta::Kind::kMeasure);
  MeasureOptions measure;
  measure.threads = threads_;
  measure.compare = config_.accuracy.metrics.Compare();
  measure.order = config_.accuracy.order;
  measure.stop = config_.accuracy.stop;
  measure.fingerprint = Fingerprint();
  measure.journal =
      options_.out / fmt::format(".journal-{}.tmp", measure.fingerprint.substr(0, 16));
  measure.resume = options_.resume;
  std::optional<InterruptNote> lost;
  measure.on_journal_gone = [&](bool made_again) {
    const std::string folder = options_.out.string();
    if (made_again) {
      Say("the journal in {} was removed while the run was at work: made again, whole\n", folder);
    } else if (!lost) {
      lost.emplace("finished windows are lost: their folder is gone");
      Say("{} was removed while the run was at work and cannot be made again\n", folder);
    }
  };
  measure.before_keeping = [&] { CheckInputs(); };
  measure.progress = [&](size_t done, size_t total) {
    ThrowIfCancelled();
    bar.Update(done, total);
  };
  if (!options_.quiet && config_.accuracy.order == OrderRule::kRandom) {
    measure.on_look = [&](const ScoreTable& scores, size_t measured) {
      bar.Above(LookText(names, scores, windows_, measured, LineWidth(STDERR_FILENO)));
    };
  }
  if (options_.resume && !options_.quiet && !std::filesystem::exists(measure.journal)) {
    Say("no interrupted run of this is in {}: beginning anew\n", options_.out.string());
  }
  return Measure(pointers, *protocol_, stream_, windows_, measure);
}

void GroupRun::MeasureGaps(size_t window) {
  ParallelFor(cells_.size(), threads_, [&](size_t i, size_t) {
    GroupCell& cell = cells_[i];
    if (!cell.path.UsesKernels()) return;
    const ModelWeights& weights = cell.quantized.weights;
    const Transformer simulated(model_->config, weights, LongestWindow(), Products::kSimulated);
    const Transformer kernel(model_->config, weights, LongestWindow());
    cell.gap = MeasureGap(simulated, kernel, *protocol_, stream_, windows_, window);
  });
}

void GroupRun::MeasureSpeed() {
  const Clock::time_point start = Clock::now();
  std::vector<SpeedCell> timed;
  for (const GroupCell& cell : cells_) {
    timed.push_back({fmt::format("{} {}", cell.config->name, cell.label),
                     cell.spec == nullptr ? nullptr : &cell.quantized.weights,
                     &cell.config->throughput});
  }
  const auto speeds =
      MeasureSpeeds(model_->config, &model_->weights, timed, threads_, options_.quiet, eta_);
  for (size_t i = 0; i < cells_.size(); ++i) cells_[i].speed = speeds[i];
  throughput_seconds_ = Since(start);
}

// A gate, not an error: the records show what was found.
void GroupRun::CheckGaps(const std::vector<CellResult>& cells) {
  for (const CellResult& cell : cells) {
    if (!cell.GapTooWide()) continue;
    gate_failed_ = true;
    SayText(GapMessage(cell));
  }
}

GroupResult GroupRun::Describe(Measurement measurement) const {
  return {.model = &*model_,
          .outliers = config_.model.outliers,
          .text = &*text_,
          .protocol = &*protocol_,
          .stream = &stream_,
          .windows = windows_,
          .all_windows = all_windows_,
          .measurement = std::move(measurement),
          .environment = DescribeEnvironment(threads_),
          .load_seconds = load_seconds_,
          .throughput_seconds = throughput_seconds_};
}

void GroupRun::Compare(const GroupResult& group, const GroupCell& cell, CellResult& result) const {
  const ScoreTable& scores = group.measurement.scores;
  const auto measured = [&](size_t model) { return Measured(scores[model], windows_); };
  const MeasuredWindows own = measured(cell.model), reference = measured(0);
  result.reference = SummarizePerplexity(reference, stream_);
  result.reference_name = ReferenceName(model_->weights);
  result.comparison = SummarizeComparison(own, reference);
  for (const GroupCell& other : cells_) {
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
  for (const GroupCell& cell : cells_) {
    if (!cell.Recorded()) continue;  // the reference was needed all the same
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
      result.calibrates = cell.calibrates;
      if (cell.calibration != nullptr)
        result.samples_read = SamplesRead(cell.calibration->data, cell.method.Needs(cell.plan));
      result.stages = cell.quantized.seconds;
      result.quantize_seconds = cell.quantize_seconds;
      Compare(group, cell, result);
    }
    results.push_back(std::move(result));
  }
  return results;
}

}  // namespace quantref
