#include "eval/support/run_eta.h"

#include <algorithm>

namespace quantref {

void RunEta::Plan(const std::vector<Stage>& stages, size_t cells) {
  stages_.assign(stages.begin(), stages.end());
  planned_ = true;
  double seconds = 0;
  for (const Stage& stage : stages) seconds += stage.seconds;
  if (cells > 0) seconds_a_cell_ = seconds / static_cast<double>(cells);
}

void RunEta::Begin(Kind kind, double now) {
  const auto next = std::find_if(stages_.begin(), stages_.end(),
                                 [&](const Stage& stage) { return stage.kind == kind; });
  at_work_ = next == stages_.end() ? Stage{kind, 0} : *next;
  if (next != stages_.end()) stages_.erase(stages_.begin(), next + 1);
  began_ = now;
  share_ = first_share_ = 0;
}

// What a resumed run had done before is no work of this stage: its first step is one of `total`.
void RunEta::Advance(size_t done, size_t total) {
  if (!at_work_ || done == 0 || total == 0) return;
  const auto share = [&](size_t count) {
    return static_cast<double>(count) / static_cast<double>(total);
  };
  if (share_ == 0) first_share_ = share(done - 1);
  share_ = share(done);
}

void RunEta::End(double now) {
  if (!at_work_) return;
  Past& past = past_[at_work_->kind];
  past.expected += at_work_->seconds * (1 - first_share_);
  past.taken += now - began_;
  at_work_.reset();
}

double RunEta::Correction(Kind kind) const {
  const auto past = past_.find(kind);
  return past == past_.end() || past->second.expected <= 0
             ? 1
             : past->second.taken / past->second.expected;
}

double RunEta::LeftOfThis(double now) const {
  const double done = share_ - first_share_, todo = 1 - share_;
  if (done <= 0)
    return std::max(0.0, at_work_->seconds * Correction(at_work_->kind) - (now - began_));
  return todo * (now - began_) / done;
}

std::optional<double> RunEta::SecondsLeft(double now) const {
  if (!planned_) return std::nullopt;
  double left = at_work_ ? LeftOfThis(now) : 0;
  Past all;
  for (const auto& [kind, past] : past_) {
    all.expected += past.expected;
    all.taken += past.taken;
  }
  for (const Stage& stage : stages_) left += stage.seconds * Correction(stage.kind);
  const double overall = all.expected > 0 ? all.taken / all.expected : 1;
  return left + unplanned_ * seconds_a_cell_ * overall;
}

}  // namespace quantref
