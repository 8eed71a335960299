#include "harness/io/file.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <csignal>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "harness/base/cancel.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::TempDir;

size_t CountFiles(const fs::path& dir) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(dir), fs::directory_iterator()));
}

// For the user root permissions mean nothing.
bool IsRoot() { return ::geteuid() == 0; }

TEST_CASE("file: ReadFile gives the whole file", "[file]") {
  const TempDir dir;
  for (const size_t size : {0u, 1u, 4095u, 4096u, 4097u, 1'000'000u}) {
    std::string contents(size, 'x');
    if (size > 0) contents.back() = '\0';
    testing::WriteFile(dir / "f", contents);
    CHECK(ReadFile(dir / "f", size) == contents);
    if (size > 0) CHECK_ERROR(ReadFile(dir / "f", size - 1), "too large", std::to_string(size));
  }
  CHECK_FALSE(ReadFile("/proc/self/status", 1 << 20).empty());  // says that its size is 0
  CHECK_ERROR(ReadFile("/dev/zero", 10'000), "too large", "10000");
}

TEST_CASE("file: what cannot be read is an Error that says why", "[file]") {
  const TempDir dir;
  CHECK_ERROR(ReadFile(dir / "none", 1), (dir / "none").string(), "No such file", "hint");
  CHECK_ERROR(ReadFile(dir.path(), 1), "expected a file, found a folder");
  if (!IsRoot()) {
    testing::WriteFile(dir / "secret", "x");
    fs::permissions(dir / "secret", fs::perms::none);
    CHECK_ERROR(ReadFile(dir / "secret", 1), "Permission denied", "permissions");
  }
}

TEST_CASE("file: an atomic write leaves the file and nothing else", "[file]") {
  const TempDir dir;
  const std::string large(3'000'000, 'y');
  WriteFileAtomically(dir / "f", large, false);
  CHECK(ReadFile(dir / "f", large.size()) == large);
  WriteFileAtomically(dir / "f", "new", true);
  CHECK(ReadFile(dir / "f", 100) == "new");
  WriteFileAtomically(dir / "empty", "", false);
  CHECK(ReadFile(dir / "empty", 100).empty());
  CHECK(CountFiles(dir.path()) == 2);
  const std::string longest_name(255, 'n');
  WriteFileAtomically(dir / longest_name, "x", false);
  CHECK(fs::exists(dir / longest_name));
}

TEST_CASE("file: an atomic write respects the umask", "[file]") {
  const TempDir dir;
  const mode_t before = ::umask(027);
  WriteFileAtomically(dir / "f", "x", false);
  ::umask(before);
  CHECK((fs::status(dir / "f").permissions() & fs::perms::all) == fs::perms(0640));
}

TEST_CASE("file: an existing file is replaced only if that is allowed", "[file]") {
  const TempDir dir;
  testing::WriteFile(dir / "f", "old");
  CHECK_ERROR(WriteFileAtomically(dir / "f", "new", false), (dir / "f").string(),
              "expected no file of this name", "--out");
  CHECK(ReadFile(dir / "f", 100) == "old");
  fs::create_symlink("nowhere", dir / "link");
  CHECK_ERROR(WriteFileAtomically(dir / "link", "new", false), "expected no file of this name");
  CHECK(CountFiles(dir.path()) == 2);
}

TEST_CASE("file: a pipe or device is not replaced", "[file]") {
  const TempDir dir;
  REQUIRE(::mkfifo((dir / "pipe").c_str(), 0600) == 0);
  CHECK_ERROR(WriteFileAtomically(dir / "pipe", "new", true), "/pipe", "found a device or pipe");
  CHECK(fs::is_fifo(dir / "pipe"));
}

TEST_CASE("file: a symbolic link stays, and what it leads to is written", "[file]") {
  const TempDir dir;
  fs::create_directory(dir / "real");
  testing::WriteFile(dir / "real/file", "old");
  fs::create_symlink("real/file", dir / "link");
  fs::create_symlink("link", dir / "second");
  fs::create_symlink("real/new", dir / "dangling");
  for (const char* name : {"link", "second", "dangling"}) {
    WriteFileAtomically(dir / name, name, true);
    CHECK(fs::is_symlink(dir / name));
    CHECK(ReadFile(dir / name, 100) == name);
  }
  CHECK(ReadFile(dir / "real/file", 100) == "second");
  CHECK(ReadFile(dir / "real/new", 100) == "dangling");
  CHECK(CountFiles(dir / "real") == 2);
  CHECK_ERROR(WriteFileAtomically(dir / "dangling", "", false), "found one");
  fs::create_symlink("loop", dir / "loop");
  CHECK_ERROR(WriteFileAtomically(dir / "loop", "", true), "symbolic links");
}

TEST_CASE("file: a pipe is read to the end of what its writers write, however late", "[file]") {
  const TempDir dir;
  REQUIRE(::mkfifo((dir / "pipe").c_str(), 0600) == 0);
  const std::string contents(200'000, 'x');  // more than a pipe holds
  std::thread writer([&] {
    const int pipe = ::open((dir / "pipe").c_str(), O_WRONLY);  // waits for the reader
    ::usleep(1000);
    for (size_t at = 0; at < contents.size();) {
      const ssize_t written = ::write(pipe, contents.data() + at, contents.size() - at);
      at += static_cast<size_t>(std::max<ssize_t>(0, written));
    }
    ::close(pipe);
  });
  CHECK(ReadFile(dir / "pipe", 1 << 20) == contents);
  writer.join();
}

TEST_CASE("file: waiting for a pipe's writer can be cancelled", "[file]") {
  const TempDir dir;
  REQUIRE(::mkfifo((dir / "pipe").c_str(), 0600) == 0);
  SetCancelRequested(true);
  CHECK_THROWS_AS(ReadFile(dir / "pipe", 100), Interrupted);
  SetCancelRequested(false);
}

TEST_CASE("file: a target that cannot be written is an Error and leaves nothing behind", "[file]") {
  const TempDir dir;
  CHECK_ERROR(WriteFileAtomically(dir / "none" / "f", "x", true), (dir / "none").string(),
              "No such file", "create the folder");
  fs::create_directory(dir / "folder");
  CHECK_ERROR(WriteFileAtomically(dir / "folder", "x", true), (dir / "folder").string(),
              "Is a directory");
  CHECK_ERROR(WriteFileAtomically(dir / "folder" / "", "x", true), "expected the name of a file");
  CHECK_ERROR(WriteFileAtomically(dir / std::string(256, 'n'), "x", false), "File name too long");
  CHECK(CountFiles(dir.path()) == 1);
  if (!IsRoot()) {
    fs::permissions(dir / "folder", fs::perms::owner_read | fs::perms::owner_exec);
    CHECK_ERROR(WriteFileAtomically(dir / "folder" / "f", "x", true), "Permission denied", "--out");
    fs::permissions(dir / "folder", fs::perms::owner_all);
  }
}

// Lets no file of this process grow beyond the limit, as a disk that fills up in the middle of a
// write.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : signal_(std::signal(SIGXFSZ, SIG_IGN)) {
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &before_) == 0);
    const rlimit limit{bytes, before_.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, signal_);
  }

 private:
  void (*signal_)(int);
  rlimit before_{};
};

TEST_CASE("file: a write that fails half-way keeps the old file", "[file]") {
  const TempDir dir;
  testing::WriteFile(dir / "f", "old");
  std::string replacing, creating;
  {
    const FileSizeLimit limit(100'000);
    const std::string large(1'000'000, 'z');
    const auto message = [&](const char* name, bool may_replace) {
      return testing::ErrorMessage([&] { WriteFileAtomically(dir / name, large, may_replace); });
    };
    replacing = message("f", true);
    creating = message("g", false);
  }
  CHECK_THAT(replacing, Catch::Contains((dir / "f").string()) &&
                            Catch::Contains("File too large") && Catch::Contains("--out"));
  CHECK_THAT(creating, Catch::Contains((dir / "g").string()));
  CHECK(ReadFile(dir / "f", 100) == "old");
  CHECK(CountFiles(dir.path()) == 1);
}

TEST_CASE("file: of many writers of a new file exactly one wins", "[file]") {
  const TempDir dir;
  std::atomic<int> wins{0};
  {
    std::vector<std::jthread> writers;
    for (int writer = 0; writer < 8; ++writer) {
      writers.emplace_back([&, writer] {
        try {
          WriteFileAtomically(dir / "f", std::string(10'000, static_cast<char>('a' + writer)),
                              false);
          ++wins;
        } catch (const Error&) {
        }
      });
    }
  }
  CHECK(wins == 1);
  CHECK(CountFiles(dir.path()) == 1);
  const std::string contents = ReadFile(dir / "f", 10'000);
  CHECK(contents == std::string(10'000, contents[0]));
}

}  // namespace
}  // namespace quantref
