#include "eval/support/progress_bar.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "eval/support/say.h"
#include "eval/support/terminal.h"
#include "eval/support/text_table.h"

namespace quantref {
namespace {

constexpr size_t kUsualWidth = 80;  // of a terminal that does not say

double Seconds(std::chrono::steady_clock::time_point time) {
  return std::chrono::duration<double>(time.time_since_epoch()).count();
}

std::string Joined(const ProgressState& state, size_t bar, bool what) {
  std::string line = state.title;
  if (bar > 0) {
    const size_t filled = state.done * bar / state.total;
    line += fmt::format(" [{}{}]", std::string(filled, '#'), std::string(bar - filled, '.'));
  }
  line += fmt::format(" {}/{}", state.done, state.total);
  if (!state.eta.empty()) line += " " + state.eta;
  if (!state.run_eta.empty()) line += (state.eta.empty() ? " " : ", ") + state.run_eta;
  if (what && !state.what.empty()) line += " " + state.what;
  return line;
}

// How many lines of the terminal whole lines of text take; 0 where it does not say how many it has,
// or has no room for them and one more.
size_t LinesOnScreen(std::string_view text) {
  const std::optional<ScreenSize> screen = ScreenOf(STDERR_FILENO);
  if (!screen) return 0;
  size_t lines = 0;
  for (size_t end = 0; (end = text.find('\n')) != std::string_view::npos;
       text.remove_prefix(end + 1))
    lines += std::max<size_t>(
        1, (TextWidth(text.substr(0, end)) + screen->columns - 1) / screen->columns);
  return lines < screen->lines ? lines : 0;
}

}  // namespace

std::string FormatDuration(double seconds) {
  if (seconds < 9.95) return fmt::format("{:.2g} s", seconds);
  const long whole = std::lround(seconds);
  if (whole < 100) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{}:{:02}", whole / 60, whole % 60);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

std::string ProgressLine(const ProgressState& state, size_t width) {
  constexpr std::pair<size_t, bool> kForms[] = {{30, true},  {20, true},  {10, true},
                                                {20, false}, {10, false}, {0, false}};
  for (const auto& [bar, what] : kForms) {
    std::string line = Joined(state, bar, what);
    if (TextWidth(line) <= width) return line;
  }
  ProgressState brief = state;
  if (!brief.run_eta.empty()) brief.eta.clear();
  const size_t whole = TextWidth(Joined(brief, 0, false)), title = TextWidth(brief.title);
  const size_t rest = whole - title;
  brief.title = Shortened(brief.title, width > rest + 1 ? width - rest : 1);
  return Shortened(Joined(brief, 0, false), width);
}

void StepEta::Advance(size_t done, std::string_view what, double now) {
  if (done == 0 && what != first_) {
    first_ = what;
    from_ = now;
  }
  if (!before_) before_ = done > 0 ? done - 1 : 0;
  done_ = done;
}

double StepEta::SecondsLeft(size_t total, double now) const {
  return (now - from_) / static_cast<double>(done_ - before_.value_or(0)) *
         static_cast<double>(total - done_);
}

ProgressBar::ProgressBar(std::string title, bool quiet)
    : title_(std::move(title)),
      quiet_(quiet),
      terminal_(isatty(STDERR_FILENO) == 1),
      steps_(Seconds(start_)) {}

ProgressBar::ProgressBar(std::string title, bool quiet, RunEta& run, RunEta::Kind kind)
    : ProgressBar(std::move(title), quiet) {
  run_ = &run;
  run_->Begin(kind, Seconds(start_));
}

ProgressBar::~ProgressBar() {
  if (run_ != nullptr) run_->End(Seconds(Clock::now()));
  if (drawn_ && terminal_) SayText("\r\x1b[K");
}

std::string ProgressBar::Eta(size_t done, size_t total) const {
  const double now = Seconds(Clock::now());
  if (done == total) return FormatDuration(now - Seconds(start_));
  return "ETA " + FormatDuration(steps_.SecondsLeft(total, now));
}

std::string ProgressBar::RunEtaText() const {
  if (run_ == nullptr || !run_->MoreToCome()) return "";  // this is all that is left
  const std::optional<double> left = run_->SecondsLeft(Seconds(Clock::now()));
  return left ? "whole run ETA " + FormatDuration(*left) : "";
}

bool ProgressBar::IsDue(size_t done, size_t total) const {
  const Clock::time_point now = Clock::now();
  if (!drawn_ && now - start_ < std::chrono::seconds(1) && done < total)
    return false;  // it may be over at once
  if (drawn_ && done == total) return !over_;
  return terminal_ ? now - last_ > std::chrono::milliseconds(100)
                   : done * 10 / total > last_tenth_ || now - last_ > std::chrono::minutes(1);
}

void ProgressBar::Update(size_t done, size_t total, std::string_view what) {
  if (total == 0) return;
  steps_.Advance(done, what, Seconds(Clock::now()));
  if (done == 0) return;
  if (run_ != nullptr) run_->Advance(done, total);
  if (quiet_ || !IsDue(done, total)) return;
  last_ = Clock::now();
  last_tenth_ = done * 10 / total;
  drawn_ = true;
  over_ = done == total;
  const ProgressState state{title_,           done,         total,
                            Eta(done, total), RunEtaText(), done == total ? "" : std::string(what)};
  if (!terminal_) {
    Say("{}: {} of {}, {}{}{}\n", title_, done, total, state.eta,
        state.run_eta.empty() ? "" : ", " + state.run_eta,
        state.what.empty() ? "" : " " + state.what);
    return;
  }
  // The last place stays free: a terminal may begin a new line when it is written to.
  const size_t width = LineWidth(STDERR_FILENO).value_or(kUsualWidth);
  Say("\r{}\x1b[K", ProgressLine(state, width - 1));
}

void ProgressBar::Above(std::string_view text) {
  Say("{}{}", terminal_ && drawn_ ? "\r\x1b[K" : "", text);
  drawn_ = over_ = false;
  standing_.clear();
  standing_lines_ = 0;
}

void ProgressBar::Refresh(std::string_view text) {
  // Of another width now, a terminal may have wrapped the lines anew or not. By the fewer of both
  // nothing is erased that somebody else has said.
  const size_t lines = std::min(standing_lines_, LinesOnScreen(standing_));
  const std::string up = lines > 0 ? fmt::format("\r\x1b[{}A\x1b[J", lines) : "";
  Above(up + std::string(text));
  if (terminal_) {
    standing_ = text;
    standing_lines_ = LinesOnScreen(text);
  }
  last_ = {};  // the bar is due again
}

}  // namespace quantref
