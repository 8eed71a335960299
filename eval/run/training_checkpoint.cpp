#include "eval/run/training_checkpoint.h"

#include <fmt/format.h>

#include <string_view>
#include <system_error>

#include "eval/support/say.h"
#include "harness/base/error.h"
#include "harness/base/sha256.h"
#include "harness/io/binary.h"
#include "harness/io/file_pieces.h"
#include "harness/io/mapped_file.h"

namespace quantref {
namespace {

// The file: magic, key, losses, the trainer's state, SHA-256 of all before; hashes in hex.
constexpr std::string_view kMagicOfTraining = "QRTRAIN1";
constexpr size_t kHexHash = 64;

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
  std::string_view bytes(reinterpret_cast<const char*>(mapped.bytes().data()),
                         mapped.bytes().size());
  if (bytes.size() < kMagicOfTraining.size() + 2 * kHexHash) return "";
  const std::string_view sum = bytes.substr(bytes.size() - kHexHash);
  bytes.remove_suffix(kHexHash);
  if (Sha256Hex(bytes) != sum || !bytes.starts_with(kMagicOfTraining)) return "";
  bytes.remove_prefix(kMagicOfTraining.size());
  if (!bytes.starts_with(key_)) return "";
  return std::string(bytes.substr(kHexHash));
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
    const auto write = [&](const ByteSink& sink) {
      Sha256Stream sha;
      const ByteSink summed = [&](std::string_view bytes) {
        sha.Update(bytes.data(), bytes.size());
        sink(bytes);
      };
      summed(kMagicOfTraining);
      summed(key_);
      std::string list;
      PutList(list, losses);
      summed(list);
      trainer.WriteState(summed);
      sink(sha.HexDigest());
    };
    WriteFileAtomically(file_, write, true);
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
