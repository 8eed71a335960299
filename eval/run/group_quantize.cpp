#include "eval/run/group_quantize.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <vector>

#include "eval/candidate/candidate.h"
#include "eval/inputs/cell_task.h"
#include "eval/pass/group_share.h"
#include "eval/run/group_train.h"
#include "eval/run/kept_cells.h"
#include "eval/run/training_checkpoint.h"
#include "eval/support/interrupt.h"
#include "eval/support/progress_bar.h"
#include "harness/base/cancel.h"

namespace quantref {
namespace {

// What the message of an interrupt says while cells become final one by one.
class QuantizingNote {
 public:
  QuantizingNote(bool resumed, size_t cells) : cells_(cells) {
    note_.emplace(resumed
                      ? "nothing new is kept: no cell is final yet; what earlier runs kept stays"
                      : "nothing of this is kept: no cell is final and no window measured yet");
  }
  void CountKept() {
    ++kept_;
    Tell();
  }
  void CountStep(size_t step) {
    note_.emplace(fmt::format(
        "{}{} of {} cells are quantized and kept, of the next {} steps of training: go on with "
        "--resume",
        recorded_, kept_, cells_, step));
  }
  void CountLook() {
    recorded_ = "the first look is kept as records; ";
    Tell();
  }

 private:
  void Tell() {
    note_.emplace(kept_ == 0
                      ? recorded_ + "no cell that takes long is final yet"
                      : fmt::format("{}{} of {} cells are quantized and kept: go on with --resume",
                                    recorded_, kept_, cells_));
  }

  const size_t cells_;
  size_t kept_ = 0;
  std::string recorded_{};
  std::optional<InterruptNote> note_;
};

// What was made stays for --resume.
void HashAndKeep(const GroupContext& group, GroupCell& cell, QuantizingNote& note) {
  cell.weights_sha256 = HashQuantized(cell.quantized.weights);
  if (!KeepCell(group, cell)) return;
  note.CountKept();
  if (cell.training != nullptr) TrainingCheckpoint(group, cell).Remove();
}

// Also where an interrupt comes meanwhile: it took long to make.
void Finish(const GroupContext& group, GroupCell& cell, QuantizingNote& note) {
  const MoreGrace grace;
  try {
    HashAndKeep(group, cell, note);
  } catch (const Interrupted&) {
    if (cell.kept_key.empty()) throw;  // is not kept in any case
    const LastWork last;
    HashAndKeep(group, cell, note);
    throw;
  }
}

bool Among(const std::vector<const GroupCell*>& cells, const GroupCell* cell) {
  return std::find(cells.begin(), cells.end(), cell) != cells.end();
}

// One after the other: each takes all threads. Adds those that could not be made.
void TrainCells(GroupContext& group, const std::vector<GroupCell*>& cells, QuantizingNote& note,
                std::vector<const GroupCell*>& failed) {
  for (GroupCell* cell : cells) {
    if (cell->training == nullptr || Among(failed, cell)) continue;
    try {
      TrainCell(group, *cell, [&](size_t step) { note.CountStep(step); });
      Finish(group, *cell, note);
    } catch (const Interrupted&) {
      throw;
    } catch (const Error& error) {
      group.Tolerate(*cell->config, error, cell->label);
      failed.push_back(cell);
    }
  }
}

// All at once, so that they share what they read alike. Adds those that could not be made. `share`:
// the processes that make them together.
void Quantize(GroupContext& group, const std::vector<GroupCell*>& cells, QuantizingNote& note,
              std::vector<const GroupCell*>& failed, SampleShare* share = nullptr) {
  std::vector<QuantizeTask> tasks;
  for (const GroupCell* cell : cells) tasks.push_back(TaskOf(*cell));
  ProgressBar bar(cells.size() == 1
                      ? fmt::format("quantizing {} {}", cells[0]->config->name, cells[0]->label)
                      : fmt::format("quantizing {} cells", cells.size()),
                  group.options.quiet, group.eta, RunEta::Kind::kQuantize);
  const QuantizeCallbacks callbacks{.progress =
                                        [&](size_t done, size_t total, std::string_view what) {
                                          CheckTogether(group);
                                          bar.Update(done, total, what);
                                        },
                                    .finished =
                                        [&](size_t task, QuantizedModel model) {
                                          GroupCell& cell = *cells[task];
                                          cell.quantized = std::move(model);
                                          if (cell.training == nullptr) Finish(group, cell, note);
                                        },
                                    .failed =
                                        [&](size_t task, const Error& error) {
                                          group.Tolerate(*cells[task]->config, error,
                                                         cells[task]->label);
                                          failed.push_back(cells[task]);
                                        }};
  QuantizeModels(group.model->config, group.model->weights, tasks, group.threads, callbacks, share);
}

// The same candidate of another config of the pass, where it is loaded already; else nullptr.
const GroupCell* LoadedAlike(const Pass& cells, const GroupCell& cell) {
  for (const GroupCell& other : cells) {
    if (&other == &cell) break;
    if (LoadAlike(other, cell) && !other.weights_sha256.empty()) return &other;
  }
  return nullptr;
}

// Those that could not be loaded are added.
void LoadCandidates(GroupContext& group, Pass& cells, std::vector<const GroupCell*>& failed) {
  for (GroupCell& cell : cells) {
    if (cell.candidate == nullptr) continue;
    ThrowIfCancelled();
    if (const GroupCell* same = LoadedAlike(cells, cell)) {
      cell.candidate = same->candidate;
      cell.quantized = same->quantized;
      cell.weights_sha256 = same->weights_sha256;
      continue;
    }
    try {
      StepOfAll(group.workers, [&] { LoadCandidate(group, cell); });
    } catch (const Interrupted&) {
      throw;
    } catch (const Error& error) {
      group.Tolerate(*cell.config, error, cell.label);
      cell.quantized = {};  // where another process alone has failed, it is nobody's LoadedAlike
      cell.weights_sha256.clear();
      failed.push_back(&cell);
    }
  }
}

// Those that are made in seconds, so that people see what the first windows say of them, and of
// candidates, while the others are at work. Takes them out of `rounded`; adds those that could not
// be made.
void MakeFirst(GroupContext& group, const Pass& cells, std::vector<GroupCell*>& rounded,
               QuantizingNote& note, std::vector<const GroupCell*>& failed, FirstLook& look) {
  const auto later = std::stable_partition(
      rounded.begin(), rounded.end(), [](const GroupCell* cell) { return !cell->TakesLong(); });
  const std::vector<GroupCell*> soon(rounded.begin(), later);
  rounded.erase(rounded.begin(), later);
  if (!soon.empty()) Quantize(group, soon, note, failed);
  Pass made;
  for (const GroupCell& cell : cells) {
    if (!Among(failed, &cell)) made.push_back(cell);
  }
  look.cells = LookedAt(made);
  TakeFirstLook(group, look);
  note.CountLook();
  ShowFirstLook(group, look);
}

// Puts the reference's weights where they belong; returns the others.
std::vector<GroupCell*> QuantizedIn(const GroupContext& group, Pass& cells) {
  std::vector<GroupCell*> quantized;
  for (GroupCell& cell : cells) {
    if (cell.candidate != nullptr) continue;
    if (cell.spec != nullptr) {
      quantized.push_back(&cell);
      continue;
    }
    cell.quantized.weights = group.model->weights;
    cell.weights_sha256 = HashQuantized(cell.quantized.weights);
  }
  return quantized;
}

// By several processes: each cell by one of them, or by all of them together; but for what is to be
// trained.
void QuantizeByAll(GroupContext& group, const std::vector<GroupCell*>& all,
                   std::vector<GroupCell*>& rounded, QuantizingNote& note,
                   std::vector<const GroupCell*>& failed) {
  const auto trained =
      std::stable_partition(rounded.begin(), rounded.end(),
                            [](const GroupCell* cell) { return cell->training == nullptr; });
  std::vector<GroupCell*> dealt(rounded.begin(), trained);
  rounded.erase(rounded.begin(), trained);
  const std::vector<GroupCell*> together = TakeTogether(group.workers, dealt);
  if (!dealt.empty())
    QuantizeDealt(
        group, all, dealt, [&](GroupCell& cell) { Finish(group, cell, note); }, failed);
  BeginTogether(group.workers, all, together);
  RunShare share(group.workers);
  if (!together.empty()) Quantize(group, together, note, failed, &share);
}

// Adds those that could not be made.
void MakeCells(GroupContext& group, const Pass& cells, const std::vector<GroupCell*>& quantized,
               std::vector<const GroupCell*>& failed, FirstLook& look) {
  QuantizingNote note(group.options.resume, quantized.size());
  std::vector<GroupCell*> left, rounded;
  for (GroupCell* cell : quantized)
    TakeKept(group, *cell) ? note.CountKept() : left.push_back(cell);
  for (GroupCell* cell : left)
    cell->goes_on = cell->training != nullptr && TrainingCheckpoint(group, *cell).IsThere();
  std::copy_if(left.begin(), left.end(), std::back_inserter(rounded), [](const GroupCell* cell) {
    return cell->training == nullptr || BeginsQuantized(*cell);
  });
  if (HasFirstLook(group, cells)) MakeFirst(group, cells, rounded, note, failed, look);
  if (!group.workers.Alone()) QuantizeByAll(group, quantized, rounded, note, failed);
  if (!rounded.empty()) Quantize(group, rounded, note, failed);
  TrainCells(group, left, note, failed);
}

}  // namespace

void QuantizeCells(GroupContext& group, Pass& cells, FirstLook& look) {
  std::vector<const GroupCell*> failed;
  LoadCandidates(group, cells, failed);
  const std::vector<GroupCell*> quantized = QuantizedIn(group, cells);
  if (group.workers.IsFirst()) {
    MakeCells(group, cells, quantized, failed, look);
  } else {
    QuantizeForFirst(group, quantized);
  }
  ShareCells(group, quantized, failed);
  size_t rows = 1;  // behind the reference's
  for (GroupCell& cell : cells) {
    if (cell.spec == nullptr || Among(failed, &cell)) continue;
    PutInRow(rows++, cell);
  }
  std::erase_if(cells, [&](const GroupCell& cell) { return Among(failed, &cell); });
}

}  // namespace quantref
