#pragma once

namespace quantref {

// From here on the first SIGINT or SIGTERM asks the work to end (harness/base/cancel.h) and says so
// on stderr. Work that has not come to the end of a step within kGraceSeconds, one product of a
// library's say, ends with the process: what is on disk is whole at any moment. A second signal of
// either kind, 50 ms later or more, ends the process at once. What writes learns of files too large
// and of pipes that nobody reads by an error. `program`, for messages, is not copied.
inline constexpr double kGraceSeconds = 1.2;
void CatchSignals(const char* program);

// While one of these stands the message of an interrupt says what becomes of the work. The
// innermost counts. `kept` is not copied.
class InterruptNote {
 public:
  explicit InterruptNote(const char* kept);
  ~InterruptNote();
  InterruptNote(const InterruptNote&) = delete;
  InterruptNote& operator=(const InterruptNote&) = delete;

 private:
  const char* outer_;
};

// The message of a program that ends because it was interrupted.
void SayInterrupted();

}  // namespace quantref
