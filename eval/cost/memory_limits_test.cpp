#include "eval/cost/memory_limits.h"

#include <catch2/catch.hpp>
#include <csignal>
#include <limits>
#include <string>

#include "eval/testing/run_eval_lab.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

using testing::Contains;
using testing::ProcessResult;
using testing::RunEvalLab;
using testing::TempDir;
using testing::WriteFile;

constexpr size_t kNone = std::numeric_limits<size_t>::max();

TEST_CASE("memory_limits: the lowest limit of the control group and those above it counts") {
  const TempDir dir;
  const auto limit = [&] { return ControlGroupLimit(dir / "membership", dir / "mount"); };
  CHECK(limit() == kNone);
  WriteFile(dir / "membership", "0::/batch/job\n");
  CHECK(limit() == kNone);
  WriteFile(dir / "mount/batch/job/memory.max", "max\n");
  CHECK(limit() == kNone);
  WriteFile(dir / "mount/batch/memory.max", "3000\n");
  CHECK(limit() == 3000);
  WriteFile(dir / "mount/batch/job/memory.max", "2000\n");
  CHECK(limit() == 2000);
  WriteFile(dir / "mount/memory.max", "1000\n");  // as a container sees its own
  CHECK(limit() == 1000);
}

TEST_CASE("memory_limits: those of version 1, too") {
  const TempDir dir;
  const auto limit = [&] { return ControlGroupLimit(dir / "membership", dir / "mount"); };
  WriteFile(dir / "membership", "5:cpu,cpuacct:/job\n4:hugetlb,memory:/job\n1:name=systemd:/x\n");
  WriteFile(dir / "mount/memory/memory.limit_in_bytes", "9223372036854771712\n");  // none
  CHECK(limit() == kNone);
  WriteFile(dir / "mount/memory/job/memory.limit_in_bytes", "5000\n");
  CHECK(limit() == 5000);
}

TEST_CASE("memory_limits: each counts what the system counts by it") {
  const MemoryNeed need{.files = 100, .memory = 20, .reserved = 3};
  MemoryLimit limit{.name = "the limit", .hint = "raise it", .most = 25e6, .used = 5e6};
  CHECK(limit.Needed(need) == 5e6 + 20);
  limit.counts_reserved = true;
  CHECK(limit.Needed(need) == 5e6 + 23);
  limit.counts_files = true;
  CHECK(limit.Needed(need) == 5e6 + 123);
  CHECK(FitsLimits({.memory = 20e6}, {limit}));
  CHECK_FALSE(FitsLimits({.memory = 20e6, .reserved = 1}, {limit}));
  CHECK_NOTHROW(CheckLimits({.memory = 20e6}, {limit}, "this run"));
  CHECK_ERROR(CheckLimits({.memory = 25e6}, {limit}, "this run"),
              "this run needs 30 MB or more; the limit is 25 MB",
              "hint: raise it; fewer --threads");
}

// Whatever the limit, the run ends by itself: with a result, or with code 2 and one message.
TEST_CASE("run_eval: under a limit of address space it ends, with what it needs and the limit") {
  const RunEvalLab lab;
  const auto run = [&](size_t megabytes, std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {lab.config(), "--threads", "1"});
    return lab.Run(arguments,
                   {.address_space_limit = megabytes << 20, .timeout = std::chrono::seconds(60)});
  };
  for (const size_t megabytes : {90u, 200u, 400u}) {
    INFO(megabytes << " MiB");
    for (const char* option : {"--quiet", "--dry-run"}) {
      const ProcessResult result = run(megabytes, {option});
      INFO(result.err);
      CHECK_FALSE(result.timed_out);
      // Between the outer two, what the libraries of a machine map decides.
      if (megabytes == 400 || (megabytes == 200 && result.exit_code == 0)) {
        testing::CheckDone(result);
        continue;
      }
      CHECK(result.exit_code == 2);
      CHECK(Contains(result.err, "MB or more; the limit of address space (ulimit -v) is "));
      CHECK(Contains(result.err, "hint"));
    }
  }
}

}  // namespace
}  // namespace quantref
