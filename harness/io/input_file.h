#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "harness/base/error.h"

namespace quantref {

// Thrown where a file is not what it was when it was read.
class InputChanged : public Error {
 public:
  using Error::Error;
};

// A file that results depend on, which must be the same from before its first use to after its
// last. It stays open: another file that takes its name (by a rename) changes nothing here, one
// that is written to is found by its size and times, and by its hash where these differ. Writes
// through memory that another process has mapped may leave the times as they are and then escape.
// Cheap to copy; threads may share it.
class InputFile {
 public:
  InputFile() = default;  // none: what came from no file never changes
  static InputFile Open(const std::filesystem::path& path);  // Error as ReadFile's

  const std::filesystem::path& path() const;
  const std::string& sha256() const;  // as kept; "" before
  int descriptor() const;

  // The whole file or pipe, once, its hash kept. Error if it holds more than max_bytes.
  std::string Read(size_t max_bytes);
  // The hash of what was read by other ways, since it was opened.
  void KeepHash(std::string sha256) const;

  // Throws InputChanged where the file was written to since it was opened, whatever it holds now,
  // or where its name leads to another file. For what is read piece by piece, or in several files
  // that belong together: until all of it is there.
  void CheckLoaded() const;

  // Throws InputChanged where the file holds something else than what was hashed. Costs a system
  // call, and reading the file only where it was written to, or so shortly before it was opened
  // that its times cannot tell a later write from that.
  void CheckUnchanged() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

// The contents of a file or pipe, and what they were read from.
struct FileContents {
  std::string bytes;
  InputFile file;
};
FileContents ReadInput(const std::filesystem::path& path, size_t max_bytes);

void CheckUnchanged(std::span<const InputFile> files);

}  // namespace quantref
