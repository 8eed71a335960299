#include "eval/interrupt.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>

#include "harness/base/error.h"

namespace quantref {
namespace {

std::atomic<bool> interrupt_requested{false};
static_assert(std::atomic<bool>::is_always_lock_free);

void HandleSignal(int) {
  interrupt_requested = true;
  static constexpr char kMessage[] =
      "\nstopping; finished windows are kept; once more to stop at once\n";
  [[maybe_unused]] const auto written = write(STDERR_FILENO, kMessage, sizeof(kMessage) - 1);
}

}  // namespace

void CatchInterrupts() {
  struct sigaction action = {};
  action.sa_handler = HandleSignal;
  action.sa_flags =
      static_cast<int>(SA_RESETHAND | SA_RESTART);  // the second signal finds the default action
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  signal(SIGXFSZ, SIG_IGN);  // a file size limit is an error of write(), with a message
}

bool InterruptRequested() { return interrupt_requested; }

void ThrowIfInterrupted() {
  if (interrupt_requested)
    throw Interrupted("stopped by the user", "interrupt",
                      "the finished windows are kept; go on with --resume");
}

}  // namespace quantref
