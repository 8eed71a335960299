#include "harness/io/input_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

#include "harness/base/sha256.h"
#include "harness/io/open_file.h"

namespace quantref {

namespace fs = std::filesystem;

// What the system tells of a file without reading it.
struct FileIdentity {
  uint64_t device = 0, inode = 0, bytes = 0;
  std::chrono::nanoseconds modified{},
      changed{};  // its content; that or its entry in the file system

  explicit FileIdentity(const struct stat& info)
      : device(info.st_dev),
        inode(info.st_ino),
        bytes(static_cast<uint64_t>(info.st_size)),
        modified(std::chrono::seconds(info.st_mtim.tv_sec) +
                 std::chrono::nanoseconds(info.st_mtim.tv_nsec)),
        changed(std::chrono::seconds(info.st_ctim.tv_sec) +
                std::chrono::nanoseconds(info.st_ctim.tv_nsec)) {}
  bool operator==(const FileIdentity&) const = default;

  // Some file systems give the same file several numbers.
  bool SameFile(const FileIdentity& other) const {
    return (device == other.device && inode == other.inode) ||
           (bytes == other.bytes && modified == other.modified);
  }
};

namespace {

using std::chrono::nanoseconds;
using SteadyClock = std::chrono::steady_clock;

// The coarsest that file systems keep times (FAT): two writes may have the same.
constexpr std::chrono::seconds kCoarsestTime{2};

constexpr char kHint[] =
    "nothing was recorded, because the figures would be a mixture's; let nothing write to a file "
    "that a run reads (put another in its place by a rename instead), and run again, or put back "
    "what it held and go on with --resume";

// Whether a write from now on gives the file another time than it has. Nobody can set that time.
bool IsSettled(const FileIdentity& identity) {
  const nanoseconds now = std::chrono::system_clock::now().time_since_epoch();
  return now - identity.changed > kCoarsestTime;
}

std::string Short(const std::string& sha256) { return sha256.substr(0, 12); }

}  // namespace

struct InputFile::State {
  State(fs::path file_path, int fd)
      : path(std::move(file_path)),
        descriptor(fd),
        is_regular(S_ISREG(OpenedStat(descriptor, path).st_mode)),
        identity(Now()),
        settled(IsSettled(identity)) {}

  FileIdentity Now() const { return FileIdentity(OpenedStat(descriptor, path)); }
  std::string HashNow() const;
  [[noreturn]] void ThrowChanged(const std::string& found) const {
    throw InputChanged("changed while it was in use: expected " + std::to_string(identity.bytes) +
                           " bytes with SHA-256 " + Short(sha256) + ", found " + found,
                       path.string(), kHint);
  }
  void Verify();

  const fs::path path;
  const Descriptor descriptor;
  const bool is_regular;  // others have no times that tell anything
  const SteadyClock::time_point opened = SteadyClock::now();
  std::mutex mutex;  // of what follows
  FileIdentity identity;
  bool settled;
  std::string sha256;
};

// Not through a mapping, which ends the process where the file is cut short meanwhile.
std::string InputFile::State::HashNow() const {
  Sha256Stream sha;
  std::vector<char> buffer(std::min<size_t>(size_t{1} << 20, identity.bytes + 1));
  for (off_t offset = 0;;) {
    const ssize_t got = ::pread(descriptor.get(), buffer.data(), buffer.size(), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) ThrowRead("cannot read", path, errno);
    if (got == 0) return sha.HexDigest();
    sha.Update(buffer.data(), static_cast<size_t>(got));
    offset += got;
  }
}

void InputFile::State::Verify() {
  const std::lock_guard lock(mutex);
  const FileIdentity now = Now();
  if (now == identity && settled) return;
  if (now.bytes != identity.bytes) ThrowChanged(std::to_string(now.bytes));
  const std::string found = HashNow();
  if (found != sha256) ThrowChanged("SHA-256 " + Short(found));
  if (Now() != now) ThrowChanged("it being written to");
  identity = now;  // it was touched, or written again with what it held
  settled = IsSettled(now) || SteadyClock::now() - opened > kCoarsestTime;
}

InputFile InputFile::Open(const fs::path& path) {
  InputFile file;
  file.state_ = std::make_shared<State>(path, OpenToRead(path));
  return file;
}

const fs::path& InputFile::path() const { return state_->path; }
int InputFile::descriptor() const { return state_->descriptor.get(); }

const std::string& InputFile::sha256() const {
  const std::lock_guard lock(state_->mutex);
  return state_->sha256;
}

std::string InputFile::Read(size_t max_bytes) {
  std::string contents = ReadToEnd(state_->descriptor, state_->path, max_bytes);
  KeepHash(Sha256Hex(contents));
  return contents;
}

void InputFile::KeepHash(std::string sha256) const {
  const std::lock_guard lock(state_->mutex);
  state_->sha256 = std::move(sha256);
}

void InputFile::CheckLoaded() const {
  if (state_ == nullptr || !state_->is_regular) return;
  const std::lock_guard lock(state_->mutex);
  struct stat named {};
  const bool is_there = ::stat(state_->path.c_str(), &named) == 0;
  if (is_there && FileIdentity(named).SameFile(state_->identity) &&
      state_->Now() == state_->identity) {
    return;
  }
  throw InputChanged(
      std::string("it was ") + (is_there ? "changed" : "removed") + " while it was read",
      state_->path.string(), "run again when whatever writes it has ended");
}

void InputFile::CheckUnchanged() const {
  if (state_ != nullptr && state_->is_regular) state_->Verify();
}

FileContents ReadInput(const fs::path& path, size_t max_bytes) {
  FileContents read;
  read.file = InputFile::Open(path);
  read.bytes = read.file.Read(max_bytes);
  return read;
}

void CheckUnchanged(std::span<const InputFile> files) {
  for (const InputFile& file : files) file.CheckUnchanged();
}

}  // namespace quantref
