#include "eval/support/interrupt.h"

#include <signal.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <functional>
#include <set>
#include <string>

#include "eval/support/exit_codes.h"
#include "eval/support/mute.h"
#include "harness/base/cancel.h"

namespace quantref {
namespace {

// All that handlers touch.
std::atomic<const char*> program_name{""}, note{nullptr}, note_of_signal{nullptr};
std::atomic<bool> said{false}, ending{false}, launched{false};
std::atomic<double> grace_seconds{kGraceSeconds};
std::atomic<int64_t> interrupted_at{0};  // by a signal, in nanoseconds; 0: not yet
static_assert(std::atomic<const char*>::is_always_lock_free);
static_assert(std::atomic<double>::is_always_lock_free);
static_assert(std::atomic<int64_t>::is_always_lock_free);

// timeout(1) signals its child and then the child's group: one wish, which two threads may get.
constexpr int64_t kSameSignal = 50'000'000;

int64_t Nanoseconds() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

void Write(const char* text) {
  if (MessagesAreMuted()) return;
  [[maybe_unused]] const auto written = write(STDERR_FILENO, text, std::strlen(text));
}

void StartGrace(double seconds) {
  const auto microseconds = static_cast<suseconds_t>(seconds * 1e6);
  itimerval grace{};
  grace.it_value = {microseconds / 1'000'000, microseconds % 1'000'000};
  setitimer(ITIMER_REAL, &grace, nullptr);
}

void HandleInterrupt(int number) {
  const int error = errno;
  const int64_t now = Nanoseconds();
  int64_t first = 0;
  if (interrupted_at.compare_exchange_strong(first, now)) {
    Interrupt();
  } else if (now - first > kSameSignal && !launched) {
    signal(number, SIG_DFL);
    raise(number);  // arrives when this handler has returned
  }
  errno = error;
}

// Safe in a signal handler.
void WriteStopped() {
  Write(program_name);
  Write(": interrupt: stopped by a signal\n");
  if (const char* kept = note_of_signal) {
    Write("  hint: ");
    Write(kept);
    Write("\n");
  }
}

void HandleEndOfGrace(int) {
  if (!said.exchange(true)) WriteStopped();
  _exit(kExitWrongInput);
}

// A copy that is never freed, the same for the same text.
const char* Kept(std::string_view text) {
  static auto& texts = *new std::set<std::string, std::less<>>();
  const auto known = texts.find(text);
  return (known != texts.end() ? known : texts.emplace(text).first)->c_str();
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

void Interrupt() {
  if (ending.exchange(true)) return;
  note_of_signal = note.load();
  SetCancelRequested(true);
  StartGrace(grace_seconds);
  if (launched) return;
  Write("\nstopping");
  if (const char* kept = note_of_signal) {
    Write("; ");
    Write(kept);
  }
  Write("; once more to stop at once\n");
}

bool WasInterrupted() { return ending; }

void ObeyLauncher() { launched = true; }

MoreGrace::MoreGrace(double seconds) : outer_(grace_seconds.exchange(seconds)) {}
MoreGrace::~MoreGrace() { grace_seconds = outer_; }

LastWork::LastWork() {
  StartGrace(kLastSeconds);
  SetCancelRequested(false);
}
LastWork::~LastWork() { SetCancelRequested(true); }

InterruptNote::InterruptNote(std::string_view kept) : outer_(note.exchange(Kept(kept))) {}
InterruptNote::~InterruptNote() { note = outer_; }

void SayInterrupted() {
  if (!launched && !said.exchange(true)) WriteStopped();
}

void SayStopped(const std::string& why) {
  if (!launched || said.exchange(true)) return;
  Write("\n");
  if (why.empty()) return WriteStopped();
  Write(program_name);
  Write((": " + why + "\n").c_str());
}

}  // namespace quantref
