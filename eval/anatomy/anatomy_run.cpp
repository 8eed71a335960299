#include "eval/anatomy/anatomy_run.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "eval/anatomy/anatomy.h"
#include "eval/anatomy/anatomy_fields.h"
#include "eval/anatomy/anatomy_text.h"
#include "eval/cost/cost.h"
#include "eval/cost/environment.h"
#include "eval/cost/memory_limits.h"
#include "eval/facts/stored_facts.h"
#include "eval/inputs/run_inputs.h"
#include "eval/support/files.h"
#include "eval/support/interrupt.h"
#include "eval/support/progress_bar.h"
#include "eval/support/say.h"
#include "eval/support/terminal.h"
#include "eval/table/headline.h"
#include "harness/base/clock.h"
#include "harness/base/error.h"
#include "harness/base/sha256.h"
#include "harness/io/file.h"
#include "harness/model/gguf_facts.h"
#include "harness/model/load_model.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;

// Of the memory that is free, what an anatomy may take beside the weights.
constexpr double kMostForAnatomy = 0.8;

// Configs by their models, in the order of these.
std::vector<std::vector<const RunConfig*>> ByModel(const std::vector<RunConfig>& configs) {
  std::vector<std::vector<const RunConfig*>> models;
  for (const RunConfig& config : configs) {
    if (config.model.synthetic) {
      throw Error("expected a model of weights, found a synthetic one", "--weights",
                  "leave out " + config.name);
    }
    const auto same = std::find_if(models.begin(), models.end(), [&](const auto& of_model) {
      return of_model.front()->model == config.model;
    });
    same == models.end() ? models.push_back({&config}) : same->push_back(&config);
  }
  return models;
}

// As many threads as memory holds what they look at. Throws Error where it does not for one.
size_t ThreadsThatFit(const RunOptions& options, const Model& model, size_t threads) {
  const std::vector<MemoryLimit> limits = MemoryLimits();
  const double room = options.memory_gb > 0
                          ? options.memory_gb * 1e9
                          : kMostForAnatomy * static_cast<double>(AvailableMemoryBytes());
  const auto need = [&](size_t count) {
    return MemoryNeed{.memory = AnatomyBytes(model.weights, count),
                      .reserved = ReservedBytes(count)};
  };
  size_t most = threads;
  while (most > 1 && (need(most).memory > room || !FitsLimits(need(most), limits))) --most;
  CheckLimits(need(most), limits, "the anatomy of " + model.name);
  if (need(most).memory > room) {
    throw Error(fmt::format("the largest matrix takes {:.3f} GB of memory: expected as much, found "
                            "{:.3f}",
                            need(most).memory / 1e9, room / 1e9),
                model.name, "give more --memory, or free some");
  }
  return most;
}

Anatomy BeginAnatomy(const RunOptions& options, const std::vector<const RunConfig*>& configs,
                     const Model& model) {
  Anatomy anatomy;
  anatomy.model = model.name;
  anatomy.weights_sha256 = model.weights.checkpoint->Sha256();
  anatomy.parameters = static_cast<double>(model.config.Parameters());
  if (const auto& outliers = configs.front()->model.outliers)
    anatomy.outliers = OutliersText(outliers->scale, outliers->channels);
  if (const GgufFacts facts = DescribeGguf(*model.weights.checkpoint); facts.quantized)
    anatomy.decoded = facts.Summary();
  if (model.stored.HoldsCodes()) anatomy.decoded = StoredSummary(model.stored);
  anatomy.cells = RoundedCells(options, configs, model.config);
  return anatomy;
}

Cost ExpectedOf(const Anatomy& anatomy, const Model& model, double load_seconds, size_t threads) {
  constexpr double kMatrixBytes = 1000, kCellBytes = 200;  // of both files
  const double matrices = static_cast<double>(AllLinears(model.weights).size());
  Cost cost;
  cost.load_seconds = load_seconds;
  cost.seconds = AnatomySeconds(model.weights, anatomy.cells, threads);
  cost.memory_bytes = LoadedBytes(model.weights) + AnatomyBytes(model.weights, threads);
  cost.record_bytes =
      matrices * (kMatrixBytes + kCellBytes * static_cast<double>(anatomy.cells.size()));
  return cost;
}

// The files are named after what is in them, so that none takes another's place.
void KeepAnatomy(const Anatomy& anatomy, const std::string& json, const fs::path& folder,
                 bool quiet) {
  const fs::path path = folder / fmt::format("{}-{}", anatomy.model, Sha256Hex(json).substr(0, 8));
  for (const auto& [end, text] :
       {std::pair(kAnatomyEnd, json), std::pair(".weights.csv", AnatomyCsv(anatomy))}) {
    const fs::path file = path.string() + end;
    WriteFileAtomically(file, text, true);
    if (!quiet) Say("weights: {}\n", file.string());
  }
}

void MeasureModel(const RunOptions& options, const Model& model, size_t threads, Anatomy& anatomy) {
  const InterruptNote note("nothing of this model's weights is kept: they are looked at in one go");
  ProgressBar bar("weights of " + anatomy.model, options.quiet);
  anatomy.matrices = MeasureAnatomy(
      model.weights, anatomy.cells, threads,
      [&](size_t done, size_t total, const std::string& name) { bar.Update(done, total, name); });
  for (size_t cell = 0; cell < anatomy.cells.size(); ++cell)
    anatomy.foretold.push_back(Foretell(anatomy.matrices, cell));
  CheckUnchanged(model.files());
}

}  // namespace

void RunAnatomy(const RunOptions& options, const std::vector<RunConfig>& configs, size_t threads) {
  ModelLoader models(threads);
  const std::optional<size_t> width = LineWidth(STDOUT_FILENO);
  std::string printed;  // the elements of a JSON array
  for (const std::vector<const RunConfig*>& of_model : ByModel(configs)) {
    const Clock::time_point start = Clock::now();
    const std::shared_ptr<const Model> model = models.Load(of_model.front()->model);
    const size_t own_threads = ThreadsThatFit(options, *model, threads);
    Anatomy anatomy = BeginAnatomy(options, of_model, *model);
    if (options.dry_run) {
      const Cost cost = ExpectedOf(anatomy, *model, Since(start), own_threads);
      PrintWhole(AnatomyPlanText(anatomy, AllLinears(model->weights).size(), cost, width));
      continue;
    }
    MeasureModel(options, *model, own_threads, anatomy);
    const std::string json = AnatomyJson(anatomy);
    KeepAnatomy(anatomy, json, options.out, options.quiet);
    printed += (printed.empty() ? "" : ",\n") + json;
    if (!options.quiet && !options.json) PrintWhole(AnatomyText(anatomy, width));
  }
  if (options.json && !options.dry_run) PrintWhole("[\n" + printed + "]\n");
}

}  // namespace quantref
