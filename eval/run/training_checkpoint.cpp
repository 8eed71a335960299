#include "eval/run/training_checkpoint.h"

#include <fmt/format.h>

#include <string_view>
#include <system_error>

#include "eval/run/kept_file.h"
#include "eval/support/say.h"
#include "harness/base/error.h"
#include "harness/io/binary.h"

namespace quantref {
namespace {

// The file (kept_file.h) has the losses and the trainer's state.
constexpr std::string_view kKindOfTraining = "QRTRAIN1";

}  // namespace

Error AtWork(const std::string& cell, const std::filesystem::path& path) {
  return Error("another run is at work with " + cell, path.string(),
               "wait for it, or choose another folder with --out");
}

TrainingCheckpoint::TrainingCheckpoint(const GroupContext& group, const GroupCell& cell)
    : group_(group),
      name_(fmt::format("{} {}", cell.config->name, cell.label)),
      key_(cell.kept_key),
      file_(group.options.out / fmt::format("{}{}.tmp", kCheckpointStart, key_.substr(0, 16))) {}

std::string TrainingCheckpoint::Payload() const {
  const MappedFile mapped(file_);
  return std::string(KeptPayload(mapped, kKindOfTraining, key_).value_or(""));
}

void TrainingCheckpoint::Lock() {
  if (LeadsTo(file_, lock_.file())) return;
  if (FileLock::Take(file_, lock_) == FileLock::Outcome::kOthers) throw AtWork(name_, file_);
}

bool TrainingCheckpoint::IsThere() const {
  FileLock probe;
  const FileLock::Outcome found = FileLock::Take(file_, probe);
  if (found == FileLock::Outcome::kOthers) throw AtWork(name_, file_);
  if (!group_.options.resume || found == FileLock::Outcome::kNoFile) return false;
  std::string why = "it is damaged";
  try {
    if (!Payload().empty()) return true;
  } catch (const Interrupted&) {
    throw;
  } catch (const Error& failure) {
    why = failure.problem();
  }
  Say("{}: {}: {} IS TRAINED FROM ITS BEGINNING\n", file_.string(), why, name_);
  return false;
}

bool TrainingCheckpoint::Take(Trainer& trainer, std::vector<double>& losses) {
  Lock();
  const std::string payload = Payload();
  std::string_view bytes = payload;
  if (!TakeList(bytes, losses) || !trainer.ReadState(bytes)) return false;
  return losses.size() == trainer.steps_done();
}

bool TrainingCheckpoint::Keep(const Trainer& trainer, const std::vector<double>& losses) {
  try {
    Lock();
    WriteKeptFile(file_, kKindOfTraining, key_, [&](const ByteSink& sink) {
      std::string list;
      PutList(list, losses);
      sink(list);
      trainer.WriteState(sink);
    });
    Lock();
    return true;
  } catch (const Interrupted&) {
    throw;
  } catch (const Error& failure) {
    Say("{}: its training cannot be kept for --resume: {}\n", name_, failure.what());
    return false;
  }
}

void TrainingCheckpoint::Remove() const noexcept {
  FileLock lock;
  std::error_code ignored;
  if (FileLock::Take(file_, lock) == FileLock::Outcome::kLocked)
    std::filesystem::remove(file_, ignored);
}

}  // namespace quantref
