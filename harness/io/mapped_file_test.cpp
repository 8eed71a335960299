#include "harness/io/mapped_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <string>
#include <utility>

#include "harness/base/sha256.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::TempDir;

std::string Text(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

TEST_CASE("mapped_file: what cannot be mapped is an Error that says why", "[mapped_file]") {
  const TempDir dir;
  CHECK_ERROR(MappedFile(dir / "none"), (dir / "none").string(), "No such file", "hint");
  CHECK_ERROR(MappedFile(dir.path()), "expected a file, found a folder");
  CHECK_ERROR(MappedFile("/dev/zero"), "expected a regular file");
  testing::WriteFile(dir / "empty", "");
  CHECK_ERROR(MappedFile(dir / "empty"), (dir / "empty").string(), "empty");
  CHECK_ERROR(MappedFile(dir / "empty" / "x"), "Not a directory");
  REQUIRE(::mkfifo((dir / "pipe").c_str(), 0600) == 0);
  CHECK_ERROR(MappedFile(dir / "pipe"), "expected a regular file");
  if (::geteuid() != 0) {  // for root permissions mean nothing
    testing::WriteFile(dir / "secret", "x");
    fs::permissions(dir / "secret", fs::perms::none);
    CHECK_ERROR(MappedFile(dir / "secret"), "Permission denied", "permissions");
  }
}

TEST_CASE("mapped_file: it keeps its address when it moves", "[mapped_file]") {
  const TempDir dir;
  testing::WriteFile(dir / "a", "first");
  testing::WriteFile(dir / "b", "second");
  MappedFile a(dir / "a");
  const std::byte* const address = a.bytes().data();
  MappedFile moved(std::move(a));
  CHECK(moved.bytes().data() == address);
  CHECK(Text(moved) == "first");
  CHECK(moved.path() == dir / "a");
  moved = MappedFile(dir / "b");
  CHECK(Text(moved) == "second");
  fs::remove(dir / "b");  // the mapping holds the data
  CHECK(Text(moved) == "second");
}

TEST_CASE("mapped_file: a fault is told by its address", "[mapped_file]") {
  const TempDir dir;
  constexpr size_t kBytes = 3 * 4096 + 5;
  testing::WriteFile(dir / "a", std::string(kBytes, 'a'));
  testing::WriteFile(dir / "b", std::string(kBytes, 'b'));
  MappedFile a(dir / "a");
  const MappedFile b(dir / "b");
  const std::byte* const in_a = a.bytes().data();
  MappingFault fault;
  const auto path_at = [&](const void* address) -> std::string {
    return FindMappingFault(address, fault) ? fault.path : "";
  };
  CHECK(path_at(in_a) == (dir / "a").string());
  CHECK(path_at(in_a + kBytes - 1) == (dir / "a").string());
  CHECK(path_at(b.bytes().data() + 4096) == (dir / "b").string());
  CHECK(path_at(&fault).empty());
  CHECK(path_at(nullptr).empty());

  fs::resize_file(dir / "a", 4096);
  CHECK(path_at(in_a + 4096) == (dir / "a").string());
  CHECK(fault.cut_short);
  CHECK(path_at(in_a + 4095) == (dir / "a").string());
  CHECK_FALSE(fault.cut_short);

  MappedFile moved(std::move(a));
  CHECK(path_at(in_a) == (dir / "a").string());
  moved = MappedFile(dir / "b");
  CHECK(path_at(in_a) != (dir / "a").string());
}

}  // namespace
}  // namespace quantref
