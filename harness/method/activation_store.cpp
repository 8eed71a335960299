#include "harness/method/activation_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>

#include "harness/base/error.h"

namespace quantref {
namespace {

// An open file of that many bytes without a name.
int OpenSpillFile(size_t bytes) {
  std::error_code no_folder;
  const std::filesystem::path folder = std::filesystem::temp_directory_path(no_folder);
  std::string path = (folder / "quantref-activations-XXXXXX").string();
  const int file = no_folder ? -1 : mkstemp(path.data());
  int problem = file < 0 ? errno : 0;
  if (file >= 0) {
    unlink(path.c_str());
    // Reserved now: a disk that fills up later would be a crash.
    problem = posix_fallocate(file, 0, static_cast<off_t>(bytes));
  }
  if (problem == 0) return file;
  if (file >= 0) close(file);
  throw Error(fmt::format("{:.1f} GiB of activations do not fit into memory, and cannot be put "
                          "into a file: {}",
                          static_cast<double>(bytes) / (1 << 30), std::strerror(problem)),
              folder.string(), "set TMPDIR to a folder with room, or calibrate on fewer samples");
}

}  // namespace

ActivationStore::ActivationStore(size_t samples, size_t tokens, size_t hidden, size_t memory_budget)
    : samples_(samples),
      tokens_(tokens),
      hidden_(hidden),
      bytes_(samples * tokens * hidden * sizeof(float)),
      in_file_(bytes_ > memory_budget) {
  Map();
}

ActivationStore::ActivationStore(const ActivationStore& other)
    : samples_(other.samples_),
      tokens_(other.tokens_),
      hidden_(other.hidden_),
      bytes_(other.bytes_),
      in_file_(other.in_file_) {
  Map();
  if (bytes_ > 0) std::memcpy(data_, other.data_, bytes_);
}

void ActivationStore::Map() {
  if (bytes_ == 0) return;
  const int file = in_file_ ? OpenSpillFile(bytes_) : -1;
  const int flags = in_file_ ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
  void* mapped = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, flags, file, 0);
  if (file >= 0) close(file);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  data_ = static_cast<float*>(mapped);
}

ActivationStore::~ActivationStore() {
  if (bytes_ > 0) munmap(data_, bytes_);
}

size_t DefaultActivationBudget() {
  return static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE)) /
         4;
}

}  // namespace quantref
