#include "eval/support/mapping_faults.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <catch2/catch.hpp>
#include <csignal>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>

#include "harness/io/mapped_file.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::TempDir;

struct End {
  int status = 0;  // as waitpid's
  std::string err;
};

// Of a child that does this and then ends with code 0.
End EndOf(const std::function<void()>& work) {
  std::array<int, 2> ends{};
  REQUIRE(::pipe(ends.data()) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(ends[1], STDERR_FILENO);
    CatchMappingFaults("tester");
    work();
    ::_exit(0);
  }
  ::close(ends[1]);
  End end;
  char buffer[1024];
  for (ssize_t got = 0; (got = ::read(ends[0], buffer, sizeof(buffer))) > 0;)
    end.err.append(buffer, static_cast<size_t>(got));
  ::close(ends[0]);
  ::waitpid(child, &end.status, 0);
  return end;
}

void Touch(const std::byte* address) {
  [[maybe_unused]] const std::byte read = *const_cast<const volatile std::byte*>(address);
}

// A file of several pages, mapped and then cut to one.
class CutFile {
 public:
  CutFile() : file_(Written(dir_ / "model.bin")) { fs::resize_file(path(), kPage); }
  fs::path path() const { return dir_ / "model.bin"; }
  const std::byte* beyond() const { return file_.bytes().data() + 2 * kPage; }

 private:
  static constexpr size_t kPage = 4096;
  static fs::path Written(const fs::path& path) {
    testing::WriteFile(path, std::string(4 * kPage, 'x'));
    return path;
  }
  TempDir dir_;
  MappedFile file_;
};

void CheckTold(const End& end, const fs::path& path) {
  INFO(end.err);
  CHECK(WIFEXITED(end.status));
  CHECK(WEXITSTATUS(end.status) == 2);
  CHECK(end.err.starts_with("tester: " + path.string() + ": the file was cut short"));
  CHECK(Contains(end.err, "hint"));
  CHECK(Contains(end.err, "--resume"));
}

TEST_CASE("mapping_faults: a mapped file that is cut short is one message and code 2") {
  const CutFile file;
  CheckTold(EndOf([&] { Touch(file.beyond()); }), file.path());
  CheckTold(EndOf([&] { std::thread([&] { Touch(file.beyond()); }).join(); }), file.path());
  const End many = EndOf([&] {
    std::array<std::thread, 4> threads;
    for (std::thread& thread : threads) thread = std::thread([&] { Touch(file.beyond()); });
    for (std::thread& thread : threads) thread.join();
  });
  CheckTold(many, file.path());
  CHECK(many.err.find("tester:") == many.err.rfind("tester:"));
}

TEST_CASE("mapping_faults: any other SIGBUS keeps its action") {
  const End sent = EndOf([] { std::raise(SIGBUS); });
  CHECK(WIFSIGNALED(sent.status));
  CHECK(WTERMSIG(sent.status) == SIGBUS);
  const CutFile file;
  const End elsewhere = EndOf([&] {  // a mapping that is nobody's business here
    const int descriptor = ::open(file.path().c_str(), O_RDONLY);
    Touch(static_cast<const std::byte*>(
              ::mmap(nullptr, 8192, PROT_READ, MAP_PRIVATE, descriptor, 0)) +
          4096);
  });
  CHECK(WTERMSIG(elsewhere.status) == SIGBUS);
  CHECK(elsewhere.err.empty());
}

}  // namespace
}  // namespace quantref
