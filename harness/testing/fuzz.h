#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

// What fuzz targets share. A target stands beside what it attacks, as NAME_fuzz.cpp, and is built
// twice: with libFuzzer by the preset "fuzz", and into the layer's tests, which give it the inputs
// in FOLDER/testdata/fuzz/NAME.

namespace quantref::testing {

struct FuzzTarget {
  std::string_view folder, name;  // "harness/io", "safetensors"
  // Takes any bytes. quantref::Error is an answer; whatever else is thrown, a crash, a sanitizer's
  // word and a failed QR_CHECK are findings.
  void (*run)(std::string_view input);
};

// Makes the target one of FuzzTargets(): for a global constant.
struct AddFuzzTarget {
  AddFuzzTarget(FuzzTarget target);
};

const std::vector<FuzzTarget>& FuzzTargets();  // those of this program

void RunFuzzTarget(const FuzzTarget& target, std::string_view input);

// A file of memory with these bytes, for readers that want a path.
class InputFile {
 public:
  explicit InputFile(std::string_view bytes);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  std::filesystem::path path() const;

 private:
  int fd_;
};

}  // namespace quantref::testing
