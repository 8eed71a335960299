// What signals do to a program, in children of the test.

#include "eval/support/interrupt.h"

#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <functional>
#include <string>
#include <thread>
#include <utility>

#include "eval/support/guarded.h"
#include "eval/support/mute.h"
#include "eval/support/say.h"
#include "harness/base/cancel.h"
#include "harness/testing/testing.h"

namespace quantref {
namespace {

using testing::Contains;

struct Ended {
  int exit_code = -1, signal = 0;
  std::string err;
};

// Runs it in a child that catches signals, to its exit with 0 unless it ends otherwise.
Ended InChild(const std::function<void()>& run) {
  int pipe[2];
  REQUIRE(::pipe(pipe) == 0);
  const int pid = ::fork();
  if (pid == 0) {
    ::dup2(pipe[1], STDERR_FILENO);
    CatchSignals("child");
    run();
    ::_exit(0);
  }
  ::close(pipe[1]);
  Ended ended;
  char buffer[512];
  for (ssize_t got = 0; (got = ::read(pipe[0], buffer, sizeof(buffer))) > 0;)
    ended.err.append(buffer, static_cast<size_t>(got));
  ::close(pipe[0]);
  int status = 0;
  ::waitpid(pid, &status, 0);
  if (WIFEXITED(status)) ended.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) ended.signal = WTERMSIG(status);
  return ended;
}

TEST_CASE("interrupt: the first signal asks the work to end and says what is kept") {
  for (const int signal : {SIGINT, SIGTERM}) {
    const Ended ended = InChild([&] {
      const InterruptNote outer("outer");
      { const InterruptNote inner("inner"); }
      raise(signal);
      if (!CancelRequested()) ::_exit(9);
      const InterruptNote later("later");
      SayInterrupted();
      SayInterrupted();
    });
    CHECK(ended.exit_code == 0);
    CHECK(ended.err ==
          "\nstopping; outer; once more to stop at once\n"
          "child: interrupt: stopped by a signal\n  hint: outer\n");
  }
}

TEST_CASE("interrupt: where nothing is at stake nothing is said of it") {
  const Ended ended = InChild([] {
    raise(SIGINT);
    SayInterrupted();
  });
  CHECK(ended.err ==
        "\nstopping; once more to stop at once\nchild: interrupt: stopped by a signal\n");
}

TEST_CASE("interrupt: the second signal of either kind ends the process at once") {
  for (const int first : {SIGINT, SIGTERM}) {
    for (const int second : {SIGINT, SIGTERM}) {
      const Ended ended = InChild([&] {
        raise(first);
        ::usleep(100'000);
        raise(second);
      });
      CHECK(ended.signal == second);
    }
  }
}

TEST_CASE("interrupt: who obeys a launcher says one thing, once it is known what") {
  const std::string usual = "\nchild: interrupt: stopped by a signal\n  hint: windows are kept\n";
  for (const auto& [why, expected] : {std::pair<std::string, std::string>{"", usual},
                                      {"rank 1 is gone", "\nchild: rank 1 is gone\n"}}) {
    const Ended ended = InChild([&] {
      const InterruptNote note("windows are kept");
      ObeyLauncher();
      raise(SIGTERM);
      SayInterrupted();
      SayStopped(why);
      SayStopped("no more");
    });
    CHECK(ended.exit_code == 0);
    CHECK(ended.err == expected);
  }
}

TEST_CASE(
    "interrupt: who holds a message says nothing of the signal that its launcher ends it by") {
  const Ended ended = InChild([] {
    SetMessagesHeld(true);
    const std::jthread launcher([] {
      ::usleep(50'000);
      ::kill(::getpid(), SIGTERM);
    });
    SayText("what another one says\n");
  });
  CHECK(ended.exit_code == kExitWrongInput);
  CHECK(ended.err == "");
}

TEST_CASE("interrupt: two in the same moment are one, whichever threads get them") {
  const Ended ended = InChild([] {
    raise(SIGINT);
    raise(SIGINT);
    SayInterrupted();
  });
  CHECK(ended.exit_code == 0);
  CHECK(ended.err ==
        "\nstopping; once more to stop at once\nchild: interrupt: stopped by a signal\n");
}

TEST_CASE("interrupt: work that does not end is ended, with the message that it would have") {
  const Ended ended = InChild([] {
    const InterruptNote note("windows are kept");
    raise(SIGTERM);
    for (;;) ::pause();
  });
  CHECK(ended.exit_code == kExitWrongInput);
  CHECK(Contains(ended.err, "child: interrupt: stopped by a signal\n  hint: windows are kept\n"));
  CHECK(kGraceSeconds < 2);
}

}  // namespace
}  // namespace quantref
