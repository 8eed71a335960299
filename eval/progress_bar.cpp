#include "eval/progress_bar.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>

namespace quantref {

std::string FormatDuration(double seconds) {
  if (seconds < 9.95) return fmt::format("{:.2g} s", seconds);
  const long whole = std::lround(seconds);
  if (whole < 100) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{}:{:02}", whole / 60, whole % 60);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

ProgressBar::ProgressBar(std::string title, bool quiet)
    : title_(std::move(title)), quiet_(quiet), terminal_(isatty(STDERR_FILENO) == 1) {}

ProgressBar::~ProgressBar() {
  if (drawn_ && terminal_) std::fputs("\r\x1b[K", stderr);
}

std::string ProgressBar::Eta(size_t done, size_t total) const {
  const double elapsed = std::chrono::duration<double>(Clock::now() - start_).count();
  if (done == total) return FormatDuration(elapsed);
  return "ETA " +
         FormatDuration(elapsed / static_cast<double>(done) * static_cast<double>(total - done));
}

void ProgressBar::Update(size_t done, size_t total, std::string_view what) {
  if (quiet_ || done == 0 || total == 0) return;
  const Clock::time_point now = Clock::now();
  const size_t tenth = done * 10 / total;
  if (!drawn_ && now - start_ < std::chrono::seconds(1) && done < total)
    return;  // it may be over at once
  const bool due = terminal_ ? now - last_ > std::chrono::milliseconds(100)
                             : tenth > last_tenth_ || now - last_ > std::chrono::minutes(1);
  if (!due && !(drawn_ && done == total)) return;
  last_ = now;
  last_tenth_ = tenth;
  drawn_ = true;
  const std::string now_at = what.empty() || done == total ? "" : fmt::format(" {}", what);
  if (!terminal_) {
    fmt::print(stderr, "{}: {} of {}, {}{}\n", title_, done, total, Eta(done, total), now_at);
    return;
  }
  constexpr size_t kWidth = 30;
  const size_t filled = done * kWidth / total;
  fmt::print(stderr, "\r{} [{}{}] {}/{} {}{}\x1b[K", title_, std::string(filled, '#'),
             std::string(kWidth - filled, '.'), done, total, Eta(done, total), now_at);
  std::fflush(stderr);
}

}  // namespace quantref
