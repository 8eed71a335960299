#include "harness/io/file_lock.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <utility>

#include "harness/testing/testing.h"

namespace quantref {
namespace {

using Outcome = FileLock::Outcome;

TEST_CASE("file_lock: a file is one's at a time, until the lock ends") {
  const testing::TempDir dir;
  testing::WriteFile(dir / "a", "x");
  FileLock none;
  CHECK(FileLock::Take(dir / "none", none) == Outcome::kNoFile);
  {
    FileLock first, second;
    REQUIRE(FileLock::Take(dir / "a", first) == Outcome::kLocked);
    CHECK(FileLock::Take(dir / "a", second) == Outcome::kOthers);
    const FileLock moved = std::move(first);
    CHECK(FileLock::Take(dir / "a", second) == Outcome::kOthers);
    CHECK(LeadsTo(dir / "a", moved.file()));
    // What takes its name is another file.
    testing::WriteFile(dir / "b", "y");
    std::filesystem::rename(dir / "b", dir / "a");
    CHECK_FALSE(LeadsTo(dir / "a", moved.file()));
    CHECK(FileLock::Take(dir / "a", second) == Outcome::kLocked);
    std::filesystem::remove(dir / "a");
    CHECK_FALSE(LeadsTo(dir / "a", second.file()));
  }
  testing::WriteFile(dir / "a", "z");
  FileLock again;
  CHECK(FileLock::Take(dir / "a", again) == Outcome::kLocked);
}

}  // namespace
}  // namespace quantref
