#include "eval/accuracy/journal.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>
#include <zlib.h>

#include <cerrno>
#include <cstring>
#include <limits>
#include <string_view>
#include <utility>

#include "harness/base/check.h"
#include "harness/base/error.h"
#include "harness/io/binary.h"
#include "harness/io/file.h"
#include "harness/io/file_lock.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMagic = "QRJRNL01";
constexpr size_t kMaxJournalBytes = size_t{1} << 34;
constexpr size_t kFrameHead = 2 * sizeof(uint32_t);

uint32_t Crc32(std::string_view bytes) {
  QR_CHECK_LE(bytes.size(), size_t{std::numeric_limits<uInt>::max()});
  return static_cast<uint32_t>(
      crc32(0, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(bytes.size())));
}

std::string Frame(const std::string& payload) {
  std::string frame;
  Put(frame, static_cast<uint32_t>(payload.size()));
  Put(frame, Crc32(payload));
  return frame + payload;
}

// The next whole frame's payload; false at the end and at a torn or damaged frame.
bool TakeFrame(std::string_view& bytes, std::string_view& payload) {
  std::string_view rest = bytes;
  uint32_t size = 0, crc = 0;
  if (!Take(rest, size) || !Take(rest, crc) || rest.size() < size) return false;
  payload = rest.substr(0, size);
  if (Crc32(payload) != crc) return false;
  rest.remove_prefix(size);
  bytes = rest;
  return true;
}

[[noreturn]] void Fail(const fs::path& path, const std::string& what) {
  const int error = errno;
  throw Error(
      fmt::format("{}: {}", what, std::strerror(error)), path.string(),
      error == ENOSPC || error == EFBIG
          ? "free some space, then go on with --resume: the windows before this one are kept"
          : "choose another folder with --out");
}

// Gives the whole entries of a journal that holds this, and returns how many of its bytes are good.
size_t ReadEntries(const fs::path& path, std::string_view contents, const std::string& fingerprint,
                   size_t models, std::vector<JournalEntry>& entries) {
  std::string_view rest = contents, payload;
  if (!rest.starts_with(kMagic))
    throw Error("expected a journal of run_eval, found something else", path.string());
  rest.remove_prefix(kMagic.size());
  if (!TakeFrame(rest, payload) || payload != fingerprint) {
    throw Error("this journal is of another run: model, text, config or program differ",
                path.string(), "run without --resume to start anew");
  }
  JournalEntry entry;
  size_t good = contents.size() - rest.size();
  while (TakeFrame(rest, payload) && DecodeEntry(payload, models, entry)) {
    entries.push_back(entry);
    good = contents.size() - rest.size();
  }
  return good;
}

std::string Contents(int file) {
  std::string contents;
  char buffer[1 << 16];
  for (ssize_t got = 0;
       (got = pread(file, buffer, sizeof(buffer), static_cast<off_t>(contents.size()))) > 0;)
    contents.append(buffer, static_cast<size_t>(got));
  return contents;
}

}  // namespace

std::string EncodeEntry(size_t window, std::span<const WindowScores> scores) {
  std::string payload;
  Put(payload, uint64_t{window});
  Put(payload, uint64_t{scores.size()});
  for (const WindowScores& model : scores) {
    for (const WindowSum& row : kWindowSums) Put(payload, model.*row.sum);
    PutList(payload, model.kl_values);
    PutList(payload, model.kept_kl);
    PutList(payload, model.outliers);
    PutList(payload, model.logits_sha256);
  }
  return payload;
}

bool DecodeEntry(std::string_view payload, size_t models, JournalEntry& entry) {
  uint64_t window = 0, count = 0;
  if (!Take(payload, window) || !Take(payload, count) || count != models) return false;
  entry.window = window;
  entry.scores.resize(models);
  for (WindowScores& scores : entry.scores) {
    for (const WindowSum& row : kWindowSums) {
      if (!Take(payload, scores.*row.sum)) return false;
    }
    if (!TakeList(payload, scores.kl_values) || !TakeList(payload, scores.kept_kl) ||
        !TakeList(payload, scores.outliers) || !TakeList(payload, scores.logits_sha256))
      return false;
  }
  return payload.empty();
}

// Locked, whatever it holds. Between the two calls its owner may have finished and removed it.
Journal Journal::Open(const fs::path& path) {
  for (;;) {
    Journal journal(path, open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    if (journal.file_ < 0) Fail(path, "the journal cannot be opened");
    if (!LockFile(journal.file_)) {
      throw Error("another run of the same configs is at work on this journal", path.string(),
                  "wait for it, or choose another folder with --out");
    }
    if (LeadsTo(path, journal.file_)) return journal;
  }
}

void Journal::Start(const std::string& fingerprint) {
  if (ftruncate(file_, 0) != 0 || lseek(file_, 0, SEEK_SET) != 0)
    Fail(path_, "the old journal cannot be cut off");
  WriteAll(std::string(kMagic) + Frame(fingerprint));
}

Journal Journal::Create(const fs::path& path, const std::string& fingerprint) {
  Journal journal = Open(path);
  journal.Start(fingerprint);
  return journal;
}

Journal Journal::Resume(const fs::path& path, const std::string& fingerprint, size_t models,
                        std::vector<JournalEntry>& entries) {
  Journal journal = Open(path);
  const std::string contents = ReadFile(path, kMaxJournalBytes);
  // A run killed while it wrote the header has done nothing yet.
  if (contents.size() < kMagic.size() + kFrameHead + fingerprint.size()) {
    journal.Start(fingerprint);
    return journal;
  }
  const size_t good = ReadEntries(path, contents, fingerprint, models, entries);
  if (ftruncate(journal.file_, static_cast<off_t>(good)) != 0 ||
      lseek(journal.file_, 0, SEEK_END) < 0) {
    Fail(path, "the journal's torn end cannot be cut off");
  }
  return journal;
}

std::vector<JournalEntry> Journal::Read(const fs::path& path, const std::string& fingerprint,
                                        size_t models) {
  std::vector<JournalEntry> entries;
  ReadEntries(path, ReadFile(path, kMaxJournalBytes), fingerprint, models, entries);
  return entries;
}

Journal::~Journal() {
  if (file_ >= 0) close(file_);
}

Journal::Journal(Journal&& other) noexcept
    : path_(std::move(other.path_)), file_(std::exchange(other.file_, -1)) {}

void Journal::WriteAll(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(file_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) Fail(path_, "the journal cannot be written");
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  if (fdatasync(file_) != 0) Fail(path_, "the journal cannot be written");
}

Journal::State Journal::Append(size_t window, std::span<const WindowScores> scores) {
  WriteAll(Frame(EncodeEntry(window, scores)));
  return LeadsTo(path_, file_) ? State::kThere : MakeAgain();
}

// The open file holds everything still, although it has no name.
Journal::State Journal::MakeAgain() {
  std::error_code error;
  fs::create_directories(path_.parent_path(), error);
  Journal again(path_, open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (again.file_ < 0 || !LockFile(again.file_)) return State::kGone;
  again.WriteAll(Contents(file_));
  std::swap(file_, again.file_);
  return State::kMadeAgain;
}

void Journal::Remove() {
  std::error_code ignored;
  if (LeadsTo(path_, file_)) fs::remove(path_, ignored);
}

}  // namespace quantref
