#pragma once

#include <filesystem>
#include <utility>

namespace quantref {

// Exclusive locks of files (flock), each a process's until it closes the file or ends. File systems
// without locks have none to give: there everybody gets one.

// Of an open file. False where another process has it.
bool LockFile(int file);

// Whether the path still leads to this open file.
bool LeadsTo(const std::filesystem::path& path, int file);

// An existing file that is locked for as long as this stands.
class FileLock {
 public:
  enum class Outcome { kLocked, kOthers, kNoFile };
  // kOthers: another process has it. Only of kLocked does the lock hold anything.
  static Outcome Take(const std::filesystem::path& path, FileLock& lock);

  FileLock() = default;
  ~FileLock();
  FileLock(FileLock&& other) noexcept : file_(std::exchange(other.file_, -1)) {}
  FileLock& operator=(FileLock&& other) noexcept {
    std::swap(file_, other.file_);
    return *this;
  }

  int file() const { return file_; }

 private:
  int file_ = -1;
};

}  // namespace quantref
