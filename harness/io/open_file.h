#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <filesystem>
#include <string>

// What the readers of this folder share.

namespace quantref {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor();
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

// Error if it cannot be opened.
int OpenToRead(const std::filesystem::path& path);

// Error for a folder, too, which open() does not refuse.
struct stat OpenedStat(const Descriptor& file, const std::filesystem::path& path);

// The rest of it; waiting for a pipe's writer may be cancelled (base/cancel.h). Error if it holds
// more than max_bytes.
std::string ReadToEnd(const Descriptor& file, const std::filesystem::path& path, size_t max_bytes);

[[noreturn]] void ThrowRead(const char* action, const std::filesystem::path& path, int error);

std::string Reason(int error);  // of errno

}  // namespace quantref
