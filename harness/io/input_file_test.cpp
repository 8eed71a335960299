#include "harness/io/input_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "harness/base/sha256.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::TempDir;

// Into the very file, as a careless copy does; WriteFile of testing makes no promise of that.
void Overwrite(const fs::path& path, const std::string& contents) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << contents;
}

struct timespec TimeOf(const fs::path& path) {
  struct stat info {};
  REQUIRE(::stat(path.c_str(), &info) == 0);
  return info.st_mtim;
}

void SetTime(const fs::path& path, struct timespec time) {
  const struct timespec times[] = {time, time};
  REQUIRE(::utimensat(AT_FDCWD, path.c_str(), times, 0) == 0);
}

TEST_CASE("input_file: contents and hash are of one reading", "[input_file]") {
  const TempDir dir;
  testing::WriteFile(dir / "f", "some text");
  const FileContents read = ReadInput(dir / "f", 100);
  CHECK(read.bytes == "some text");
  CHECK(read.file.sha256() == Sha256Hex("some text"));
  CHECK(read.file.path() == dir / "f");
  CHECK_NOTHROW(read.file.CheckLoaded());
  CHECK_NOTHROW(read.file.CheckUnchanged());
  CHECK_NOTHROW(InputFile().CheckUnchanged());
  CHECK_ERROR(ReadInput(dir / "f", 3), "too large");
  CHECK_ERROR(ReadInput(dir / "none", 3), "No such file", "hint");
  CHECK_ERROR(ReadInput(dir.path(), 3), "expected a file, found a folder");
}

TEST_CASE("input_file: whatever else it holds is found, with path and hint", "[input_file]") {
  const TempDir dir;
  const fs::path path = dir / "f";
  testing::WriteFile(path, "as it was");
  const FileContents read = ReadInput(path, 100);
  const auto time = TimeOf(path);
  for (const std::string other : {"something", "cut", "as it was, and more", ""}) {
    INFO(other);
    Overwrite(path, other);
    CHECK_THROWS_AS(read.file.CheckUnchanged(), InputChanged);
    CHECK_THROWS_AS(read.file.CheckLoaded(), InputChanged);
    SetTime(path, time);  // as tools do that keep times
    CHECK_ERROR(read.file.CheckUnchanged(), path.string(), "changed while it was in use",
                "expected 9 bytes with SHA-256 " + Sha256Hex("as it was").substr(0, 12), "hint",
                "--resume");
  }
  Overwrite(path, "as it was");
  CHECK_NOTHROW(read.file.CheckUnchanged());
}

TEST_CASE("input_file: a write that leaves no other time is found in a young file",
          "[input_file]") {
  const TempDir dir;
  // A write within the clock's tick of the one before has the same time: one of many tries does.
  for (int i = 0; i < 50; ++i) {
    Overwrite(dir / "f", "first");
    const FileContents read = ReadInput(dir / "f", 100);
    Overwrite(dir / "f", "other");
    CHECK_THROWS_AS(read.file.CheckUnchanged(), InputChanged);
  }
}

TEST_CASE("input_file: the same content is no change, touched or written again", "[input_file]") {
  const TempDir dir;
  testing::WriteFile(dir / "f", "same");
  const FileContents read = ReadInput(dir / "f", 100);
  SetTime(dir / "f", {.tv_sec = 1'000'000'000, .tv_nsec = 0});
  CHECK_NOTHROW(read.file.CheckUnchanged());
  Overwrite(dir / "f", "same");
  // While it is loaded nobody can say what was read before and what after.
  CHECK_THROWS_AS(read.file.CheckLoaded(), InputChanged);
  CHECK_ERROR(read.file.CheckLoaded(), (dir / "f").string(), "changed while it was read", "hint");
  CHECK_NOTHROW(read.file.CheckUnchanged());
}

TEST_CASE("input_file: another file under the same name changes nothing, once all is loaded",
          "[input_file]") {
  const TempDir dir;
  testing::WriteFile(dir / "f", "mine");
  testing::WriteFile(dir / "g", "another's");
  const FileContents read = ReadInput(dir / "f", 100);
  fs::rename(dir / "g", dir / "f");
  CHECK_NOTHROW(read.file.CheckUnchanged());
  CHECK_THROWS_AS(read.file.CheckLoaded(), InputChanged);
  fs::remove(dir / "f");
  CHECK_NOTHROW(read.file.CheckUnchanged());
  CHECK_ERROR(read.file.CheckLoaded(), "removed while it was read");
}

TEST_CASE("input_file: a pipe is read once and never changes", "[input_file]") {
  const TempDir dir;
  REQUIRE(::mkfifo((dir / "pipe").c_str(), 0600) == 0);
  const std::jthread writer([&] { Overwrite(dir / "pipe", "through a pipe"); });
  const FileContents read = ReadInput(dir / "pipe", 100);
  CHECK(read.bytes == "through a pipe");
  CHECK_NOTHROW(read.file.CheckLoaded());
  CHECK_NOTHROW(read.file.CheckUnchanged());
}

}  // namespace
}  // namespace quantref
