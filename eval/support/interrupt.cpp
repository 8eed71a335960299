#include "eval/support/interrupt.h"

#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "eval/support/guarded.h"
#include "harness/base/cancel.h"

namespace quantref {
namespace {

// All that handlers touch.
std::atomic<const char*> program_name{""}, note{nullptr}, note_of_signal{nullptr};
std::atomic<bool> interrupted{false}, said{false};
static_assert(std::atomic<const char*>::is_always_lock_free);

void Write(const char* text) {
  [[maybe_unused]] const auto written = write(STDERR_FILENO, text, std::strlen(text));
}

void StartGrace() {
  constexpr auto kMicroseconds = static_cast<suseconds_t>(kGraceSeconds * 1e6);
  itimerval grace{};
  grace.it_value = {kMicroseconds / 1'000'000, kMicroseconds % 1'000'000};
  setitimer(ITIMER_REAL, &grace, nullptr);
}

void HandleInterrupt(int number) {
  const int error = errno;
  if (interrupted.exchange(true)) {
    signal(number, SIG_DFL);
    raise(number);  // arrives when this handler has returned
  } else {
    note_of_signal = note.load();
    SetCancelRequested(true);
    StartGrace();
    Write("\nstopping");
    if (const char* kept = note_of_signal) {
      Write("; ");
      Write(kept);
    }
    Write("; once more to stop at once\n");
  }
  errno = error;
}

void HandleEndOfGrace(int) {
  SayInterrupted();
  _exit(kExitWrongInput);
}

void Handle(int number, void (*handler)(int)) {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigaction(number, &action, nullptr);
}

}  // namespace

void CatchSignals(const char* program) {
  program_name = program;
  Handle(SIGINT, HandleInterrupt);
  Handle(SIGTERM, HandleInterrupt);
  Handle(SIGALRM, HandleEndOfGrace);
  signal(SIGXFSZ, SIG_IGN);
  signal(SIGPIPE, SIG_IGN);
}

InterruptNote::InterruptNote(const char* kept) : outer_(note.exchange(kept)) {}
InterruptNote::~InterruptNote() { note = outer_; }

void SayInterrupted() {
  if (said.exchange(true)) return;
  Write(program_name);
  Write(": interrupt: stopped by the user\n");
  if (const char* kept = note_of_signal) {
    Write("  hint: ");
    Write(kept);
    Write("\n");
  }
}

}  // namespace quantref
