#include "harness/io/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <optional>
#include <system_error>
#include <vector>

#include "harness/base/error.h"
#include "harness/base/machine.h"
#include "harness/io/file_lock.h"
#include "harness/io/file_pieces.h"
#include "harness/io/open_file.h"
#include "harness/io/whole_folder.h"

namespace quantref {

namespace fs = std::filesystem;

namespace {

std::string WriteHint(int error) {
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return "free some space, or choose a folder on another disk with --out";
    case EFBIG:
      return "raise the file size limit (ulimit -f), or choose another folder with --out";
    case EACCES:
    case EPERM:
    case EROFS:
      return "choose a folder that you may write to with --out";
    case ENOENT:
    case ENOTDIR:
      return "create the folder, or choose another with --out";
    case EEXIST:
      return "move the existing file away, or choose another folder with --out";
    default:
      return {};
  }
}

[[noreturn]] void ThrowWrite(const char* action, const fs::path& path, int error) {
  throw Error(std::string(action) + ": " + Reason(error), path.string(), WriteHint(error));
}

fs::path FolderOf(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

// Where symbolic links lead, which may be to no file yet.
fs::path LinkTarget(fs::path path) {
  constexpr int kMostLinks = 40;  // the kernel's limit
  std::error_code error;
  for (int links = 0; fs::is_symlink(fs::symlink_status(path, error)); ++links) {
    if (links == kMostLinks) ThrowWrite("cannot follow the symbolic links", path, ELOOP);
    const fs::path next = fs::read_symlink(path, error);
    if (error) ThrowWrite("cannot follow the symbolic link", path, error.value());
    path = FolderOf(path) / next;
  }
  return path;
}

constexpr char kTemporaryStart[] = ".quantref-";
constexpr int kMostAttempts = 1000;  // at a name that is not taken

// Names the machine: where a file system keeps its locks for one, another's work has none here.
const std::string& TemporaryEnd() {
  static const std::string end = [] {
    std::string host = HostName();
    for (char& c : host) {
      if (c == '/' || c == '@') c = '_';
    }
    return "@" + host + ".tmp";
  }();
  return end;
}

// A name for something beside `target`. It does not contain the target's, which may already be as
// long as a name can be.
fs::path TemporaryName(const fs::path& target) {
  static std::atomic<unsigned> next{0};
  return FolderOf(target) / (kTemporaryStart + std::to_string(::getpid()) + "-" +
                             std::to_string(next++) + TemporaryEnd());
}

// A file, which network file systems lock for those alone who may write it; or a folder.
int OpenTemporary(const fs::path& path) {
  const int file = ::open(path.c_str(), O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (file >= 0 || errno != EISDIR) return file;
  return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

// Removes what stands under temporary names of this machine and whose process has ended without
// doing so: what can be locked. A lock ends with its process, however that ends; file systems
// without locks give none.
void RemoveAbandoned(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error); !error && entry != fs::directory_iterator();
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (name.starts_with(kTemporaryStart) && name.ends_with(TemporaryEnd()))
      found.push_back(entry->path());
  }
  for (const fs::path& path : found) {
    const Descriptor handle(OpenTemporary(path));
    if (handle.get() >= 0 && ::flock(handle.get(), LOCK_EX | LOCK_NB) == 0)
      fs::remove_all(path, error);
  }
}

// Locks what was just made, so that nobody takes it for abandoned. False where somebody has, who
// came upon it before, and removes it.
bool Claim(const fs::path& path, int handle) { return LockFile(handle) && LeadsTo(path, handle); }

// A new file beside `target`, locked, and removed with this object (after a rename there is nothing
// left to remove).
class TemporaryFile {
 public:
  explicit TemporaryFile(const fs::path& target) {
    RemoveAbandoned(FolderOf(target));
    // O_EXCL rather than mkstemp(), whose mode 0600 ignores the umask.
    for (int attempt = 0;; ++attempt) {
      path_ = TemporaryName(target);
      fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      if (fd_ < 0 && (errno != EEXIST || attempt == kMostAttempts))
        ThrowWrite("cannot create a temporary file in this folder", FolderOf(target), errno);
      if (fd_ >= 0 && Claim(path_, fd_)) return;
      if (fd_ >= 0) ::close(fd_);
    }
  }
  ~TemporaryFile() {
    if (fd_ >= 0) ::close(fd_);
    if (!path_.empty()) ::unlink(path_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  const fs::path& path() const { return path_; }
  void Renamed() { path_.clear(); }

  void Write(std::string_view contents, const fs::path& target) {
    while (!contents.empty()) {
      const ssize_t written = ::write(fd_, contents.data(), contents.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) ThrowWrite("cannot write", target, errno);
      contents.remove_prefix(static_cast<size_t>(written));
    }
  }
  void Sync(const fs::path& target) {
    if (::fsync(fd_) != 0) ThrowWrite("cannot write to the disk", target, errno);
    // Network file systems report some failed writes only where a descriptor is closed; this one
    // holds the lock until the file has its name.
    const int other = ::dup(fd_);
    if (other < 0 || ::close(other) != 0) ThrowWrite("cannot write", target, errno);
  }

 private:
  fs::path path_;
  int fd_ = -1;
};

// The same of a folder.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(const fs::path& target) {
    RemoveAbandoned(FolderOf(target));
    for (int attempt = 0;; ++attempt) {
      path_ = TemporaryName(target);
      if (::mkdir(path_.c_str(), 0777) != 0) {
        if (errno == EEXIST && attempt < kMostAttempts) continue;
        ThrowWrite("cannot create a temporary folder in this folder", FolderOf(target), errno);
      }
      handle_.emplace(OpenTemporary(path_));
      if (handle_->get() < 0) ThrowOpen(target);
      if (Claim(path_, handle_->get())) return;
    }
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const fs::path& path() const { return path_; }
  void Renamed() { path_.clear(); }

 private:
  [[noreturn]] void ThrowOpen(const fs::path& target) const {
    const int error = errno;
    ::rmdir(path_.c_str());
    ThrowWrite("cannot open a temporary folder in this folder", FolderOf(target), error);
  }

  fs::path path_;
  std::optional<Descriptor> handle_;
};

// Renames unless `target` exists. Returns 0 or errno.
int RenameToNewName(const fs::path& from, const fs::path& target) {
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, target.c_str(), RENAME_NOREPLACE) == 0)
    return 0;
  if (errno != EINVAL && errno != ENOSYS) return errno;
  // Not every file system knows RENAME_NOREPLACE (NFS does not); link() never replaces either.
  if (::link(from.c_str(), target.c_str()) != 0) return errno;
  ::unlink(from.c_str());
  return 0;
}

// Makes the new name itself survive a power failure. File systems that cannot sync a folder say
// EINVAL or ENOTSUP, and a folder that we may write but not read cannot be opened for it: the file
// is complete in all three cases.
void SyncFolder(const fs::path& folder) {
  const Descriptor handle(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (handle.get() < 0 && errno == EACCES) return;
  if (handle.get() < 0) ThrowWrite("cannot open the folder to sync it", folder, errno);
  if (::fsync(handle.get()) != 0 && errno != EINVAL && errno != ENOTSUP) {
    ThrowWrite("cannot sync the folder", folder, errno);
  }
}

}  // namespace

std::string ReadFile(const fs::path& path, size_t max_bytes) {
  return ReadToEnd(Descriptor(OpenToRead(path)), path, max_bytes);
}

void WriteFileAtomically(const fs::path& name, std::string_view contents, bool may_replace) {
  WriteFileAtomically(
      name, [&](const ByteSink& sink) { sink(contents); }, may_replace);
}

void WriteFileAtomically(const fs::path& name,
                         const std::function<void(const ByteSink& sink)>& write, bool may_replace) {
  if (!name.has_filename()) throw Error("expected the name of a file", name.string());
  // A rename would put a file in its place, /dev/null's too.
  if (std::error_code error; may_replace && fs::is_other(fs::status(name, error)))
    throw Error("expected a file or a new name, found a device or pipe", name.string());
  const fs::path path = may_replace ? LinkTarget(name) : name;
  TemporaryFile temporary(path);
  write([&](std::string_view bytes) { temporary.Write(bytes, path); });
  temporary.Sync(path);
  if (may_replace) {
    if (::rename(temporary.path().c_str(), path.c_str()) != 0) {
      ThrowWrite("cannot replace the file", path, errno);
    }
  } else if (const int error = RenameToNewName(temporary.path(), path); error == EEXIST) {
    throw Error("expected no file of this name, found one; it was left as it is", path.string(),
                WriteHint(EEXIST));
  } else if (error != 0) {
    ThrowWrite("cannot give the file its name", path, error);
  }
  temporary.Renamed();
  SyncFolder(FolderOf(path));
}

void WriteFolderWhole(const fs::path& folder,
                      const std::function<void(const fs::path& unfinished)>& write) {
  if (!folder.has_filename()) throw Error("expected the name of a folder", folder.string());
  const auto refuse = [&] {
    throw Error("expected nothing of this name, found something; it was left as it is",
                folder.string(), WriteHint(EEXIST));
  };
  if (IsPresent(folder)) refuse();
  TemporaryFolder temporary(folder);
  write(temporary.path());
  SyncFolder(temporary.path());
  // Where a file system does not know RENAME_NOREPLACE a folder replaces an empty one at most.
  int error = 0;
  if (::renameat2(AT_FDCWD, temporary.path().c_str(), AT_FDCWD, folder.c_str(), RENAME_NOREPLACE))
    error = errno;
  if (error == EINVAL || error == ENOSYS)
    error = ::rename(temporary.path().c_str(), folder.c_str()) == 0 ? 0 : errno;
  if (error == EEXIST || error == ENOTEMPTY || error == ENOTDIR) refuse();
  if (error != 0) ThrowWrite("cannot give the folder its name", folder, error);
  temporary.Renamed();
  SyncFolder(FolderOf(folder));
}

bool IsPresent(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::exists(std::filesystem::symlink_status(path, ignored));
}

}  // namespace quantref
