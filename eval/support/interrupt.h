#pragma once

#include <string>
#include <string_view>

namespace quantref {

// From here on the first SIGINT or SIGTERM asks the work to end (harness/base/cancel.h) and says so
// on stderr. Work that has not come to the end of a step within kGraceSeconds, one product of a
// library's say, ends with the process: what is on disk is whole at any moment. A second signal of
// either kind, 50 ms later or more, ends the process at once. What writes learns of files too large
// and of pipes that nobody reads by an error. `program`, for messages, is not copied.
inline constexpr double kGraceSeconds = 1.2;
void CatchSignals(const char* program);

// What the first signal does, without one: another process of the same run got it. A signal that
// comes afterwards is the same wish, and changes nothing.
void Interrupt();
// Whether there was a first one, whatever became of it.
bool WasInterrupted();

// For a process that a launcher started beside others: its signals are the launcher's and the batch
// system's, who say one wish several times, and kill who does not end. From here on no second
// signal ends the process at once, and SayStopped says all that is said of the first.
void ObeyLauncher();

// While one of these stands the work has so many seconds in the place of kGraceSeconds: for work
// that leaves something behind only if it comes to the end of its step.
inline constexpr double kMoreGraceSeconds = 10;
class MoreGrace {
 public:
  explicit MoreGrace(double seconds = kMoreGraceSeconds);
  ~MoreGrace();
  MoreGrace(const MoreGrace&) = delete;
  MoreGrace& operator=(const MoreGrace&) = delete;

 private:
  const double outer_;
};

// For who must put away what there is when the work has ended because of an interrupt: while this
// stands nothing is cancelled, and kLastSeconds are left in the place of kGraceSeconds. Afterwards
// the work is as unwanted as before.
inline constexpr double kLastSeconds = 60;
class LastWork {
 public:
  LastWork();
  ~LastWork();
  LastWork(const LastWork&) = delete;
  LastWork& operator=(const LastWork&) = delete;
};

// While one of these stands the message of an interrupt says what becomes of the work. The
// innermost counts. Copies of the text stay for as long as the process lives, where a handler may
// read them: not for thousands.
class InterruptNote {
 public:
  explicit InterruptNote(std::string_view kept);
  ~InterruptNote();
  InterruptNote(const InterruptNote&) = delete;
  InterruptNote& operator=(const InterruptNote&) = delete;

 private:
  const char* outer_;
};

// The message of a program that ends because it was interrupted.
void SayInterrupted();

// The one of a process that obeys its launcher, as soon as it is known what there is to say: `why`
// in the place of the usual one. Only the first call says anything.
void SayStopped(const std::string& why = {});

}  // namespace quantref
