#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

#include "harness/io/input_file.h"

namespace quantref {

// A file's bytes as read-only memory, for files too large to copy. Moving keeps the address. Where
// the file is cut short while it is mapped, or its disk fails, the kernel answers reads with
// SIGBUS: see FindMappingFault.
class MappedFile {
 public:
  // Error if the file cannot be read, is not a regular file, or is empty.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const std::byte> bytes() const { return bytes_; }  // starts at a page boundary
  const std::filesystem::path& path() const { return file_.path(); }
  const InputFile& file() const { return file_; }

  // Of the bytes; file() keeps it.
  std::string Sha256() const;

 private:
  InputFile file_;
  std::span<const std::byte> bytes_;
  size_t slot_ = 0;  // in the list that FindMappingFault looks through
};

// Why memory could not be read.
struct MappingFault {
  const char* path = nullptr;  // of the mapped file
  bool cut_short = false;      // it ends before the place; else the disk or network failed
};

// Of the address that a SIGBUS tells. False where it is in none of the mapped files. Safe in a
// signal handler.
bool FindMappingFault(const void* address, MappingFault& fault) noexcept;

}  // namespace quantref
