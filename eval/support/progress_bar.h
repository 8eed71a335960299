#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "eval/support/run_eta.h"

namespace quantref {

// What a line of progress says.
struct ProgressState {
  std::string title;
  size_t done = 0, total = 0;
  std::string eta;      // "ETA 14 s", "2:07" where it is done; may be empty
  std::string run_eta;  // of the run that this is a stage of; may be empty
  std::string what;     // is at work now; may be empty
};

// A line of at most so many characters: with a bar and all of it where there is room, else without
// what matters least.
std::string ProgressLine(const ProgressState& state, size_t width);

// When work is over whose steps take as long as those that were done. Times are seconds of any
// clock that does not go back.
class StepEta {
 public:
  explicit StepEta(double now) : from_(now) {}
  // `what` is at work. Where nothing is done yet, what went on under another name made it ready,
  // and says nothing about how long steps take. Of a first call that finds some done all but one
  // were done before.
  void Advance(size_t done, std::string_view what, double now);
  // Once a step is done.
  double SecondsLeft(size_t total, double now) const;

 private:
  double from_;
  size_t done_ = 0;
  std::optional<size_t> before_;
  std::string first_;  // what the first step is of
};

// Shows how far a piece of work is and when it will be done: a line on a terminal, a line every
// tenth of the way (and at least every minute) elsewhere, nothing if quiet. All on stderr. Not
// thread-safe: the callers' progress callbacks come one at a time.
class ProgressBar {
 public:
  ProgressBar(std::string title, bool quiet);
  // A stage of a run, whose end is shown too; `run` is told how far this one is.
  ProgressBar(std::string title, bool quiet, RunEta& run, RunEta::Kind kind);
  ~ProgressBar();  // leaves the terminal on a fresh line
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // `what` is at work now, "layers.3 gptq"; may be empty. Steps are as StepEta has them.
  void Update(size_t done, size_t total, std::string_view what = {});

  // Says the text, whole lines, and goes on below it.
  void Above(std::string_view text);
  // Likewise, on a terminal in the place of what the last Refresh said, where nothing but this bar
  // was said since and the screen has room for it.
  void Refresh(std::string_view text);

  bool on_terminal() const { return terminal_; }

 private:
  using Clock = std::chrono::steady_clock;
  std::string Eta(size_t done, size_t total) const;
  std::string RunEtaText() const;
  bool IsDue(size_t done, size_t total) const;

  std::string title_;
  bool quiet_, terminal_, drawn_ = false, over_ = false;  // over_: that all is done is said
  RunEta* run_ = nullptr;
  Clock::time_point start_ = Clock::now(), last_{};
  StepEta steps_;
  size_t last_tenth_ = 0;
  std::string standing_;       // above the bar, which the next Refresh takes the place of,
  size_t standing_lines_ = 0;  // on so many lines of the screen; 0: on more than it may take
};

// "1:05:09", "2:07", "14 s", "0.31 s".
std::string FormatDuration(double seconds);

}  // namespace quantref
