#include "eval/run/kept_cells.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

#include "eval/accuracy/measure.h"
#include "eval/inputs/finished.h"
#include "eval/pass/score_facts.h"
#include "eval/pass/shard_work.h"
#include "eval/run/group_budget.h"
#include "eval/run/kept_file.h"
#include "eval/run/training_checkpoint.h"
#include "eval/support/say.h"
#include "harness/base/error.h"
#include "harness/base/sha256.h"
#include "harness/io/binary.h"
#include "harness/io/file.h"
#include "harness/io/file_lock.h"
#include "harness/method/kept_model.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;

// The file (kept_file.h) has HashQuantized in hex, the threads of its run (uint64), and the model's
// bytes.
constexpr std::string_view kKindOfCells = "QRCELL03";
constexpr std::string_view kCellStart = ".cell-", kCellEnd = ".tmp";
constexpr size_t kHashSize = 64, kNameSize = 16;

std::string KeyOfCell(const GroupContext& group, const GroupCell& cell) {
  std::string text = TextOf(OriginFacts(group)) + cell.config->name + "\n" + cell.label + "\n" +
                     OwnConfigText(cell.config->ResolvedForScores(), cell.spec->label) + "\n";
  if (const CalibrationSet* set = cell.calibration)
    text += set->TokenSha256(set->data.samples.size());
  if (const CalibrationSet* set = cell.budget_text)
    text += "\n" + set->TokenSha256(set->data.samples.size());
  if (const CalibrationSet* set = cell.training)
    text += "\n" + set->TokenSha256(set->data.samples.size());
  return Sha256Hex(text);
}

std::string FileNameOf(const GroupCell& cell) {
  return fmt::format("{}{}{}", kCellStart, cell.kept_key.substr(0, kNameSize), kCellEnd);
}

fs::path FileOf(const GroupContext& group, const GroupCell& cell) {
  return group.options.out / FileNameOf(cell);
}

// What a file gives to its cell.
struct KeptCell {
  QuantizedModel model;
  std::string weights_sha256;
  size_t threads;
};

// Cuts off the front.
std::string_view TakeFront(std::string_view& bytes, size_t count) {
  const std::string_view front = bytes.substr(0, count);
  bytes.remove_prefix(front.size());
  return front;
}

// Nothing where the file is not whole, or not this cell.
std::optional<KeptCell> ReadKept(const GroupContext& group, const GroupCell& cell,
                                 const fs::path& path) {
  const MappedFile file(path);
  const std::optional<std::string_view> payload = KeptPayload(file, kKindOfCells, cell.kept_key);
  if (!payload || payload->size() < kHashSize) return std::nullopt;
  std::string_view bytes = *payload;
  const std::string hash(TakeFront(bytes, kHashSize));
  uint64_t threads = 0;
  if (!Take(bytes, threads)) return std::nullopt;
  auto model = ReadModel(bytes, group.model->weights, cell.plan, group.threads);
  if (!model || HashQuantized(model->weights) != hash) return std::nullopt;
  return KeptCell{std::move(*model), hash, static_cast<size_t>(threads)};
}

void WriteKept(const GroupContext& group, const GroupCell& cell, const fs::path& path) {
  WriteKeptFile(path, kKindOfCells, cell.kept_key, [&](const ByteSink& sink) {
    std::string head = cell.weights_sha256;
    Put(head, uint64_t{group.threads});
    sink(head);
    if (!WriteModel(group.model->weights, cell.plan, cell.quantized, sink))
      throw Error("a matrix is in a form that is never written", cell.label);
  });
}

// The lock of the cell's file; nothing where there is none. Throws Error where another run has it.
std::shared_ptr<const FileLock> LockOf(const GroupCell& cell, const fs::path& path) {
  FileLock lock;
  const FileLock::Outcome outcome = FileLock::Take(path, lock);
  if (outcome == FileLock::Outcome::kOthers)
    throw AtWork(fmt::format("{} {}", cell.config->name, cell.label), path);
  if (outcome == FileLock::Outcome::kNoFile) return nullptr;
  return std::make_shared<FileLock>(std::move(lock));
}

// Takes what the file has of the cell, which `who` quantized. False, which is said, where it is
// damaged.
bool TakeFile(const GroupContext& group, const fs::path& path, const char* who, GroupCell& cell) {
  std::string why = "it is damaged, or not of this model";
  try {
    if (auto kept = ReadKept(group, cell, path)) {
      cell.quantized = std::move(kept->model);
      cell.weights_sha256 = kept->weights_sha256;
      cell.quantize_threads = kept->threads;
      if (!group.options.quiet) Say("{} {}: quantized by {}\n", cell.config->name, cell.label, who);
      return true;
    }
  } catch (const Interrupted&) {
    throw;
  } catch (const Error& failure) {
    why = failure.problem();
  }
  Say("{}: {}: {} {} IS QUANTIZED AGAIN\n", path.string(), why, cell.config->name, cell.label);
  return false;
}

// What stands there is whole at any moment, and stays.
bool TakeOthers(const GroupContext& group, GroupCell& cell) {
  for (const fs::path& folder : group.shards.kept_in) {
    const fs::path path = folder / FileNameOf(cell);
    if (IsPresent(path) && TakeFile(group, path, "a shard", cell)) return true;
  }
  return false;
}

// `f`: of an entry and its name.
template <typename F>
void ForFiles(const fs::path& folder, std::string_view start, std::string_view end, F&& f) {
  std::error_code error;
  for (fs::directory_iterator entry(folder, error); !error && entry != fs::directory_iterator();
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name.starts_with(start) && name.ends_with(end)) f(*entry, name);
  }
}

// Of cells that are finished; not what others wait for.
void RemoveLeftBudgets(const GroupContext& group, const std::vector<GroupCell>& cells) {
  std::set<std::string> of_finished;
  for (const GroupCell& cell : cells)
    if (cell.finished) of_finished.insert(BudgetFileOf(group, cell));
  for (const GroupCell& cell : cells)
    if (!cell.finished) of_finished.erase(BudgetFileOf(group, cell));
  of_finished.erase("");
  std::error_code ignored;
  for (const std::string& name : of_finished) fs::remove(group.options.out / name, ignored);
}

}  // namespace

void NameKept(const GroupContext& group, std::vector<GroupCell>& cells) {
  for (GroupCell& cell : cells) {
    // Losing others would cost no more than a moment.
    const bool costly = cell.calibration != nullptr || cell.training != nullptr;
    if (cell.spec != nullptr && costly) cell.kept_key = KeyOfCell(group, cell);
  }
}

bool TakeKept(const GroupContext& group, GroupCell& cell) {
  if (cell.kept_key.empty()) return false;
  const fs::path path = FileOf(group, cell);
  const std::shared_ptr<const FileLock> lock = LockOf(cell, path);
  if (!group.options.resume || lock == nullptr) return TakeOthers(group, cell);
  if (!TakeFile(group, path, "an earlier run", cell)) return TakeOthers(group, cell);
  cell.kept = lock;
  return true;
}

bool KeepCell(const GroupContext& group, GroupCell& cell) {
  if (cell.kept_key.empty()) return false;
  const fs::path path = FileOf(group, cell);
  try {
    const auto old = LockOf(cell, path);
    WriteKept(group, cell, path);
    cell.kept = LockOf(cell, path);
    return cell.kept != nullptr;
  } catch (const Interrupted&) {
    throw;
  } catch (const Error& failure) {
    Say("{} {} cannot be kept for --resume: {}\n", cell.config->name, cell.label, failure.what());
    return false;
  }
}

void RemoveKept(const GroupContext& group, const Pass& cells) noexcept {
  for (const GroupCell& cell : cells) {
    std::error_code ignored;
    if (cell.training != nullptr) TrainingCheckpoint(group, cell).Remove();
    if (cell.kept == nullptr) continue;
    const fs::path path = FileOf(group, cell);
    if (LeadsTo(path, cell.kept->file())) fs::remove(path, ignored);
  }
}

void RemoveLeftBehind(const GroupContext& group, const std::vector<GroupCell>& cells) noexcept {
  bool journals = false;
  ForFiles(group.options.out, kJournalStart, kJournalEnd,
           [&](const auto&, const auto&) { journals = true; });
  if (journals) return;
  for (const GroupCell& cell : cells) {
    FileLock lock;
    std::error_code ignored;
    if (!cell.finished || cell.kept_key.empty()) continue;
    const fs::path path = FileOf(group, cell);
    if (FileLock::Take(path, lock) == FileLock::Outcome::kLocked) fs::remove(path, ignored);
  }
  RemoveLeftBudgets(group, cells);
}

std::string LeftBehindText(const GroupContext& group, const std::vector<GroupCell>& cells) {
  std::set<fs::path> own;
  for (const GroupCell& cell : cells) {
    own.insert(BudgetFileOf(group, cell));
    if (cell.kept_key.empty()) continue;
    own.insert(FileOf(group, cell).filename());
    own.insert(TrainingCheckpoint(group, cell).file().filename());
  }
  double bytes = 0;
  for (const std::string_view start :
       {kCellStart, std::string_view(kCheckpointStart), kBudgetStart}) {
    ForFiles(group.options.out, start, kCellEnd,
             [&](const fs::directory_entry& entry, const auto& name) {
               std::error_code gone;
               const auto size = own.contains(name) ? 0 : entry.file_size(gone);
               if (!gone) bytes += static_cast<double>(size);
             });
  }
  if (bytes == 0) return "";
  return fmt::format(
      "{:.1f} MB in {}/{{{},{},{}}}*{} are quantized cells of other runs, or sensitivities: remove "
      "them where none is at work or will be resumed\n",
      bytes / 1e6, group.options.out.string(), kCellStart, kCheckpointStart, kBudgetStart,
      kCellEnd);
}

}  // namespace quantref
