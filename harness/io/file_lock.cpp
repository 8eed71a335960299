#include "harness/io/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace quantref {

bool LockFile(int file) { return flock(file, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK; }

bool LeadsTo(const std::filesystem::path& path, int file) {
  struct stat opened {
  }, there{};
  return fstat(file, &opened) == 0 && stat(path.c_str(), &there) == 0 &&
         opened.st_dev == there.st_dev && opened.st_ino == there.st_ino;
}

FileLock::Outcome FileLock::Take(const std::filesystem::path& path, FileLock& lock) {
  for (;;) {
    FileLock taken;
    taken.file_ = open(path.c_str(), O_RDWR | O_CLOEXEC);  // network file systems ask for both
    if (taken.file_ < 0) return Outcome::kNoFile;
    if (!LockFile(taken.file_)) return Outcome::kOthers;
    // Its owner may have removed or replaced it between the two calls.
    if (!LeadsTo(path, taken.file_)) continue;
    lock = std::move(taken);
    return Outcome::kLocked;
  }
}

FileLock::~FileLock() {
  if (file_ >= 0) close(file_);
}

}  // namespace quantref
