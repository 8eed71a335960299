#include "harness/base/error.h"

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <catch2/catch.hpp>
#include <cstdio>
#include <string>

#include "harness/base/check.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

TEST_CASE("error: the message joins where, what and hint", "[error]") {
  const Error error("expected 3 bits, found 9", "config.yaml: bits", "use 2 to 8");
  CHECK(std::string(error.what()) ==
        "config.yaml: bits: expected 3 bits, found 9\n  hint: use 2 to 8");
  CHECK(error.problem() == "expected 3 bits, found 9");
  CHECK(error.where() == "config.yaml: bits");
  CHECK(error.hint() == "use 2 to 8");
}

TEST_CASE("error: an empty part leaves no trace in the message", "[error]") {
  CHECK(std::string(Error("bad", "").what()) == "bad");
  CHECK(std::string(Error("bad", "file").what()) == "file: bad");
  CHECK(std::string(Error("bad", "", "mend it").what()) == "bad\n  hint: mend it");
}

TEST_CASE("error: is caught as a standard exception, and a copy keeps its parts", "[error]") {
  try {
    throw Error("bad", "file", "mend it");
  } catch (const std::exception& exception) {
    CHECK(std::string(exception.what()) == "file: bad\n  hint: mend it");
    const auto* error = dynamic_cast<const Error*>(&exception);
    REQUIRE(error != nullptr);
    const Error copy = *error;
    CHECK(std::string(copy.what()) == error->what());
    CHECK(copy.hint() == "mend it");
  }
}

TEST_CASE("error: an interruption can be told from other errors", "[error]") {
  const auto kind_of = [](const auto& thrown) -> std::string {
    try {
      throw thrown;
    } catch (const Interrupted& interrupted) {
      return "interrupted " + interrupted.problem();
    } catch (const Error& error) {
      return "error " + error.problem();
    }
  };
  CHECK(kind_of(Interrupted("stopped", "")) == "interrupted stopped");
  CHECK(kind_of(Error("bad", "")) == "error bad");
}

TEST_CASE("error: CHECK_ERROR passes the whole message on", "[error]") {
  CHECK(testing::ErrorMessage([] { throw Error("bad", "file", "mend it"); }) ==
        "file: bad\n  hint: mend it");
}

struct ChildResult {
  int exit_status;
  std::string standard_error;
};

// What f does to a process of its own.
template <typename F>
ChildResult RunInChild(F f) {
  std::array<int, 2> ends{};
  REQUIRE(pipe(ends.data()) == 0);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    f();
    _exit(0);
  }
  close(ends[1]);
  ChildResult result;
  std::array<char, 256> buffer{};
  for (ssize_t n = 0; (n = read(ends[0], buffer.data(), buffer.size())) > 0;) {
    result.standard_error.append(buffer.data(), static_cast<size_t>(n));
  }
  close(ends[0]);
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  result.exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return result;
}

TEST_CASE("check: a failed CHECK ends the process with status 3 and names both values", "[check]") {
  const ChildResult failed = RunInChild([] {
    const int two = 2;
    QR_CHECK_EQ(two + 1, 5);
  });
  CHECK(failed.exit_status == 3);
  CHECK_THAT(failed.standard_error, Catch::Contains("two + 1 == 5: 3 vs 5"));
  CHECK_THAT(failed.standard_error, Catch::Contains("error_test.cpp:"));
  CHECK(RunInChild([] { QR_CHECK(1 > 2); }).exit_status == 3);
  CHECK(RunInChild([] { QR_CHECK_LT(2, 2); }).exit_status == 3);
  CHECK(RunInChild([] { QR_CHECK_LE(3, 2); }).exit_status == 3);
}

TEST_CASE("check: a CHECK that holds does nothing and evaluates its values once", "[check]") {
  int evaluations = 0;
  QR_CHECK_EQ(++evaluations, 1);
  QR_CHECK_LE(2, 2);
  QR_CHECK_LT(1, 2);
  QR_CHECK(evaluations == 1);
  CHECK(evaluations == 1);
}

}  // namespace
}  // namespace quantref
