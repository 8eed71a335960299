#include "harness/base/start_thread.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <functional>
#include <string>

#include "harness/base/free_cores.h"
#include "harness/base/parallel.h"
#include "harness/base/team.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

// Whether it throws the Error of a refused thread, in a child whose address space holds the stacks
// of so many more threads. A child that does not end by itself is ended by an alarm.
bool IsRefused(size_t threads, const std::function<void()>& work) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(60);
    constexpr size_t kStack = size_t{1} << 30;
    pthread_attr_t attributes;
    ::pthread_attr_init(&attributes);
    ::pthread_attr_setstacksize(&attributes, kStack);
    ::pthread_setattr_default_np(&attributes);
    size_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    const rlim_t most =
        pages * static_cast<size_t>(::sysconf(_SC_PAGESIZE)) + threads * kStack + kStack / 2;
    const rlimit limit = {most, most};
    ::setrlimit(RLIMIT_AS, &limit);
    try {
      work();
    } catch (const Error& error) {
      ::_exit(testing::MissingPart(error.what(), {"refuses another thread", "--threads"}) == ""
                  ? 0
                  : 1);
    }
    ::_exit(2);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST_CASE("start_thread: threads that the system refuses are an Error, and nobody waits for them") {
  CHECK_FALSE(IsRefused(2, [] { ParallelFor(100, 3, [](size_t, size_t) {}); }));
  CHECK(IsRefused(2, [] { ParallelFor(100, 5, [](size_t, size_t) {}); }));
  CHECK(IsRefused(2, [] { const Team team(5); }));
  if (std::thread::hardware_concurrency() > 1) CHECK(IsRefused(1, [] { MeasureFreeCores(); }));
}

}  // namespace
}  // namespace quantref
