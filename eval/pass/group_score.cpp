#include "eval/pass/group_score.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "eval/accuracy/reference_name.h"
#include "eval/accuracy/transformer_subject.h"
#include "eval/candidate/candidate.h"
#include "eval/facts/texts.h"
#include "eval/pass/ledger_steps.h"
#include "eval/pass/score_facts.h"
#include "eval/pass/shard_file.h"
#include "eval/pass/shard_work.h"
#include "eval/support/interrupt.h"
#include "eval/support/progress_bar.h"
#include "eval/support/say.h"
#include "eval/support/terminal.h"
#include "harness/base/cancel.h"
#include "harness/base/clock.h"
#include "harness/base/parallel.h"

namespace quantref {
namespace {

// Of what a terminal shows and shows again, in seconds.
constexpr double kBetweenLooks = 2;

std::vector<const GroupCell*> Quantized(const Pass& cells) {
  std::vector<const GroupCell*> quantized;
  for (const GroupCell& cell : cells) {
    if (cell.spec != nullptr) quantized.push_back(&cell);
  }
  return quantized;
}

// The reference's first; of several configs with theirs.
std::vector<std::string> NamesOf(const GroupContext& group,
                                 std::span<const GroupCell* const> quantized) {
  std::vector<std::string> names = {ReferenceName(group.model->weights)};
  for (const GroupCell* cell : quantized) {
    names.push_back(group.configs.size() == 1
                        ? cell->label
                        : fmt::format("{} {}", cell->config->name, cell->label));
  }
  return names;
}

// As tables of parts of a run show them, which have no room for notes.
std::vector<std::string> LookNames(const GroupContext& group,
                                   std::span<const GroupCell* const> quantized) {
  const auto in_doubt = [](const MatrixSources& stored) {
    return std::ranges::count(stored.notes, NoteGrade::kDoubt, &CountedNote::grade) > 0;
  };
  std::vector<std::string> names = NamesOf(group, quantized);
  for (size_t i = 0; i < names.size(); ++i) {
    const Candidate* candidate = i == 0 ? nullptr : quantized[i - 1]->candidate.get();
    const bool doubtful = i == 0 ? in_doubt(group.model->stored)
                                 : candidate != nullptr && in_doubt(candidate->stored);
    if (doubtful) names[i] += " (in doubt)";
  }
  return names;
}

std::vector<Transformer> CellModels(const GroupContext& group,
                                    std::span<const GroupCell* const> quantized) {
  std::vector<Transformer> models;
  models.emplace_back(group.model->config, group.model->weights, group.LongestWindow());
  for (const GroupCell* cell : quantized)
    models.emplace_back(cell->shape, cell->quantized.weights, group.LongestWindow());
  return models;
}

// All that a pass takes through its windows: with the runs between the steps of ledgers.
std::vector<Transformer> MeasuredModels(const GroupContext& group, const Pass& cells) {
  std::vector<Transformer> models = CellModels(group, Quantized(cells));
  for (const LedgerRun& run : RunsBetween(group, cells))
    models.emplace_back(run.cell->shape, WeightsOf(run), group.LongestWindow(),
                        Products::kSimulated);
  return models;
}

// As MeasuredModels.
std::vector<std::string> MeasuredNames(const GroupContext& group, const Pass& cells) {
  std::vector<std::string> names = NamesOf(group, Quantized(cells));
  for (const LedgerRun& run : RunsBetween(group, cells))
    names.push_back(
        fmt::format("{} {} up to {}", run.cell->config->name, run.cell->label, run.step));
  return names;
}

std::vector<TransformerSubject> SubjectsOf(const std::vector<Transformer>& models,
                                           const std::vector<std::string>& names) {
  std::vector<TransformerSubject> subjects;
  for (size_t i = 0; i < models.size(); ++i) subjects.emplace_back(models[i], names[i]);
  return subjects;
}

std::vector<const Subject*> PointersTo(const std::vector<TransformerSubject>& subjects) {
  std::vector<const Subject*> pointers;
  for (const TransformerSubject& subject : subjects) pointers.push_back(&subject);
  return pointers;
}

MeasureOptions OptionsOf(const GroupContext& group, const Pass& cells) {
  const RunConfig::Accuracy& accuracy = group.config().accuracy;
  MeasureOptions measure;
  measure.threads = group.threads;
  measure.compare = accuracy.metrics.Compare();
  measure.kept_logits = accuracy.metrics.kept_logits;
  measure.order = accuracy.order;
  measure.stop = accuracy.stop;
  measure.fingerprint = Fingerprint(group, cells);
  measure.journal = group.options.out / JournalFile(measure.fingerprint);
  measure.resume = group.options.resume;
  if (group.shards.part) measure.shard = *group.shards.part;
  if (!group.shards.merged.empty()) measure.measured = TakeWindows(group, cells);
  measure.before_keeping = [&] { group.CheckInputs(); };
  return measure;
}

}  // namespace

void PutInRow(size_t row, GroupCell& cell) {
  cell.model = row;
  cell.quantized.weights.kv_cache = cell.spec->kv_cache;  // whatever the weights became
  if (cell.config->path.kernels) cell.path = PathOf(cell.quantized.weights);
}

Measurement ScoreCells(const GroupContext& group, const Pass& cells) {
  const std::vector<Transformer> models = MeasuredModels(group, cells);
  const std::vector<TransformerSubject> subjects = SubjectsOf(models, MeasuredNames(group, cells));
  const std::vector<std::string> names = LookNames(group, Quantized(cells));

  ProgressBar bar(fmt::format("{}, {}", group.model->name, group.protocol.name),
                  group.options.quiet, group.eta, RunEta::Kind::kMeasure);
  MeasureOptions measure = OptionsOf(group, cells);
  measure.progress = [&](size_t done, size_t total) {
    ThrowIfCancelled();
    bar.Update(done, total);
  };
  Clock::time_point shown{};
  if (!group.options.quiet && measure.order == OrderRule::kRandom) {
    measure.every_window = bar.on_terminal();
    measure.on_look = [&](const ScoreTable& scores, size_t measured) {
      if (bar.on_terminal() && (Since(shown) < kBetweenLooks || CancelRequested())) return;
      shown = Clock::now();
      bar.Refresh(LookText(names, scores, group.windows, measured, LineWidth(STDERR_FILENO)));
    };
  }
  const std::string folder = group.options.out.string();
  std::optional<InterruptNote> lost;
  measure.on_journal_gone = [&](bool made_again) {
    if (made_again) {
      bar.Above(fmt::format(
          "the journal in {} was removed while the run was at work: made again, whole\n", folder));
    } else if (!lost) {
      lost.emplace("finished windows are lost: their folder is gone");
      bar.Above(fmt::format("{} was removed while the run was at work and cannot be made again\n",
                            folder));
    }
  };
  if (measure.resume && !group.options.quiet && !std::filesystem::exists(measure.journal))
    Say("no interrupted run of this is in {}{}: beginning anew\n", folder,
        HoldsJournal(folder) ? " (the windows there are of other settings or texts, or of another "
                               "program or kind of machine)"
                             : "");
  return MeasureShared(PointersTo(subjects), group.protocol, group.stream, group.windows, measure,
                       group.workers);
}

void ScoreForFirst(const GroupContext& group, const Pass& cells) {
  const std::vector<Transformer> models = MeasuredModels(group, cells);
  const std::vector<TransformerSubject> subjects = SubjectsOf(models, MeasuredNames(group, cells));
  MeasureOptions measure = OptionsOf(group, cells);
  measure.progress = [&](size_t, size_t) {
    ThrowIfCancelled();
    group.CheckInputs();
  };
  MeasureForFirst(PointersTo(subjects), group.protocol, group.stream, group.windows, measure,
                  group.workers);
}

bool HasFirstLook(const GroupContext& group, const Pass& cells) {
  return !group.options.quiet && !group.options.resume && group.shards.Alone() &&
         group.workers.Alone() && group.config().accuracy.order == OrderRule::kRandom &&
         group.windows.size() >= 4 * kFirstLook &&
         std::any_of(cells.begin(), cells.end(),
                     [](const GroupCell& cell) { return cell.TakesLong(); });
}

Pass LookedAt(const Pass& cells) {
  Pass looked_at;
  size_t rows = 1;  // behind the reference's
  for (const GroupCell& cell : cells) {
    if (cell.TakesLong()) continue;
    looked_at.push_back(cell);
    if (cell.spec != nullptr) PutInRow(rows++, looked_at.back());
  }
  return looked_at;
}

void TakeFirstLook(const GroupContext& group, FirstLook& look) {
  const std::vector<Transformer> models = MeasuredModels(group, look.cells);
  const std::vector<TransformerSubject> subjects =
      SubjectsOf(models, MeasuredNames(group, look.cells));
  const RunConfig::Accuracy& accuracy = group.config().accuracy;
  const std::vector<size_t> order =
      WindowOrder(group.windows.size(), accuracy.order, accuracy.stop);
  Measurement& found = look.measurement;
  found.scores.assign(models.size(),
                      std::vector<std::optional<WindowScores>>(group.windows.size()));
  found.seconds.assign(models.size(), 0);
  found.first_window = accuracy.stop ? order.front() : 0;
  found.interrupted = true;
  ProgressBar bar(fmt::format("{}, a first look", group.model->name), group.options.quiet,
                  group.eta, RunEta::Kind::kMeasure);
  EvaluateOptions evaluate;
  evaluate.threads = group.threads;
  evaluate.compare = accuracy.metrics.Compare();
  evaluate.kept_logits = accuracy.metrics.kept_logits;
  evaluate.hash_window = found.first_window;
  evaluate.progress = [&](size_t done, size_t total) {
    ThrowIfCancelled();
    bar.Update(done, total);
  };
  Evaluate(PointersTo(subjects), group.protocol, group.stream, group.windows,
           std::span(order).first(kFirstLook), evaluate, found.scores, found.seconds);
  look.taken = true;
  look.grace.emplace();
}

void ShowFirstLook(const GroupContext& group, const FirstLook& look) {
  SayText(LookText(LookNames(group, Quantized(look.cells)), look.measurement.scores, group.windows,
                   kFirstLook, LineWidth(STDERR_FILENO)) +
          "the other cells follow once they are quantized\n");
}

void MeasureGaps(const GroupContext& group, size_t window, Pass& cells) {
  ParallelFor(cells.size(), group.threads, [&](size_t i, size_t) {
    GroupCell& cell = cells[i];
    if (!cell.path.UsesKernels()) return;
    const ModelWeights& weights = cell.quantized.weights;
    const Transformer simulated(cell.shape, weights, group.LongestWindow(), Products::kSimulated);
    const Transformer kernel(cell.shape, weights, group.LongestWindow());
    cell.gap = MeasureGap(simulated, kernel, group.protocol, group.stream, group.windows, window);
  });
}

}  // namespace quantref
