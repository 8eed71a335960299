#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

namespace quantref {

// Shows how far a piece of work is and when it will be done: a bar on a terminal, a line every
// tenth of the way (and at least every minute) elsewhere, nothing if quiet. All on stderr. Not
// thread-safe: the callers' progress callbacks come one at a time.
class ProgressBar {
 public:
  ProgressBar(std::string title, bool quiet);
  ~ProgressBar();  // leaves the terminal on a fresh line
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // `what` is at work now, "layers.3 gptq"; may be empty.
  void Update(size_t done, size_t total, std::string_view what = {});

 private:
  using Clock = std::chrono::steady_clock;
  std::string Eta(size_t done, size_t total) const;

  std::string title_;
  bool quiet_, terminal_, drawn_ = false;
  Clock::time_point start_ = Clock::now(), last_{};
  size_t last_tenth_ = 0;
};

// "1:05:09", "2:07", "14 s", "0.31 s".
std::string FormatDuration(double seconds);

}  // namespace quantref
