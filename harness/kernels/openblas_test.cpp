#include "harness/kernels/openblas.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <functional>
#include <string>

#include "harness/base/matrix.h"
#include "harness/kernels/gemm.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

constexpr size_t kSize = 256;

// In a child that may have no more address space than it has, and so much. A child that does not
// end by itself is ended by an alarm.
int ExitCodeWithin(size_t bytes, const std::function<int()>& work) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(60);
    size_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    const rlim_t most = pages * static_cast<size_t>(::sysconf(_SC_PAGESIZE)) + bytes;
    const rlimit limit = {most, most};
    ::setrlimit(RLIMIT_AS, &limit);
    ::_exit(work());
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_CASE("openblas: no room for a buffer is an Error, and what has one goes on") {
  const Matrix<float> a(kSize, kSize), b(kSize, kSize);
  Matrix<float> c(kSize, kSize);
  BlasMultiplyTransposed(a.view(), b.view(), c.view());  // one call has its buffer
  const int code = ExitCodeWithin(size_t{64} << 20, [&] {
    const std::string message = testing::ErrorMessage([] { ReserveBlasBuffers(500); });
    if (testing::MissingPart(message, {"no room", "128 MiB", "ulimit -v", "--threads"}) != "")
      return 1;
    BlasMultiplyTransposed(a.view(), b.view(), c.view());
    return 0;
  });
  CHECK(code == 0);
}

TEST_CASE("openblas: more calls at a time than it can serve are refused") {
  CHECK_ERROR(ReserveBlasBuffers(1000), "at most", "found 1000", "--threads");
}

}  // namespace
}  // namespace quantref
